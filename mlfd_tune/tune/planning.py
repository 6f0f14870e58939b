"""Which shared stages a sweep will need, worked out before it starts."""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Iterable
from typing import Any

from mlfd_tune.config import Loaded, SearchSpace, SweepConfig
from mlfd_tune.config.distributions import Choice, FloatRange, IntRange
from mlfd_tune.core.errors import UserError
from mlfd_tune.core.store import Stage, walk
from mlfd_tune.tune.confirm import CONTROLS
from mlfd_tune.tune.space import grid_points
from mlfd_tune.tune.trial import TrialContext, TrialRequestConfig, student_of

__all__ = ["searched_stages"]

# A parameter below one of these changes what is upstream of the student.
_UPSTREAM = (
    "joint_teacher.",
    "teacher.",
    "teachers.",
    "datasets.",
    "image_size",
    "seed",
    "method",
    "student.arch",
    "student.image_size",
    "distillation.hint_level",
    "unic.teachers",
    "unic.token_types",
)
_CORNERS = 200

Point = dict[str, Any]


def searched_stages(loaded: Loaded, context: TrialContext) -> list[Stage]:
    """Return the shared stages that the trials of a sweep will need, as far as is known before.

    Where the parameters that change shared stages have few combinations, these are the stages of
    all combinations. Where they have too many, or endlessly many, these are the stages that all
    have in common; trials compute the rest as they go, still each at most once.

    Raises:
        UserError: A combination of the space cannot work, with the key and what is allowed.
    """
    config = loaded.config
    assert isinstance(config, SweepConfig)
    compared = (*CONTROLS, *config.confirm.compare) if config.confirm.top_k else ()
    problems: dict[str, str] = {}  # each with the first point that has it
    stages: list[Stage] = []
    for target in config.target_names:
        points, is_complete = _combinations(config, target)
        below: list[list[Stage]] = []
        for point in points:
            try:
                student = student_of(context, TrialRequestConfig("", target, point))
                for method in compared:  # a confirmation must not fail when the search is over
                    student_of(context, TrialRequestConfig("", target, point, method))
            except UserError as error:
                shown = ", ".join(f"{key}={value}" for key, value in point.items())
                where = f"{config.search.place_of_space(target)} at {shown}: " if shown else ""
                problems |= {line: where for line in error.problems if line not in problems}
                continue
            below.append(list(walk(student.inputs.values())))
        stages += itertools.chain(*below) if is_complete else _shared_by_all(below)
    if problems:
        raise UserError(*(where + line for line, where in problems.items()))
    return list(walk(stages))


def _combinations(config: SweepConfig, target: str) -> tuple[list[Point], bool]:
    """Return the combinations of what is upstream of a target's student, and whether that is all.

    Where there are too many, these are the ones at the ends of the ranges.
    """
    space, levels = _upstream(config.search.space_of(target)), config.joint_teacher.levels
    points = _points(space, levels, config.search.trials)
    if points is not None:
        return points, True
    return _points(_ends(space), levels, None) or [{}], False


def _upstream(space: SearchSpace) -> dict[str, FloatRange | IntRange | Choice]:
    """Return the parameters that change shared stages, without conditions on others."""
    chosen = {key: value for key, value in space.ordered() if key.startswith(_UPSTREAM)}
    return {
        key: value.model_copy(
            update={"when": {name: v for name, v in value.when.items() if name in chosen}}
        )
        for key, value in chosen.items()
    }


def _points(
    space: dict[str, FloatRange | IntRange | Choice], levels: tuple[str, ...], limit: int | None
) -> list[Point] | None:
    """Return every combination, or None when there are more than `limit` or endlessly many."""
    if not space:
        return [{}]
    try:
        points = list(
            itertools.islice(grid_points(SearchSpace(space), levels), (limit or _CORNERS) + 1)
        )
    except ValueError:  # a float without steps
        return None
    if limit is None:
        return points[:_CORNERS]
    return points if len(points) <= limit else None


def _ends(
    space: dict[str, FloatRange | IntRange | Choice],
) -> dict[str, FloatRange | IntRange | Choice]:
    """Return the space with each range replaced by its two ends."""
    ends: dict[str, FloatRange | IntRange | Choice] = {}
    for key, value in space.items():
        match value:
            case FloatRange(float=bounds) | IntRange(int=bounds):
                ends[key] = Choice(choice=bounds, when=value.when)
            case Choice():
                ends[key] = value
    return ends


def _shared_by_all(below: Iterable[list[Stage]]) -> list[Stage]:
    lists = list(below)
    counts = Counter(stage.key for stages in lists for stage in stages)
    return [stage for stage in lists[0] if counts[stage.key] == len(lists)] if lists else []
