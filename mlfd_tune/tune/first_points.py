"""The points a study tries before its sampler proposes any."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from mlfd_tune.config.search import SearchSettings
from mlfd_tune.config.space import LEVELS_KEY, SearchSpace
from mlfd_tune.core.models.levels import parse_levels

__all__ = ["first_points"]

_RANKED_POINTS = 2  # a ranking is a guess: a wrong one must not cost many trials


def first_points(
    search: SearchSettings, dataset: str, ranked: Sequence[str] = ()
) -> list[dict[str, Any]]:
    """Return the points to enqueue for a target dataset's study, in order.

    Its own first points come first. Then comes, for each of the two best ranked levels that no
    first point has, a point that names the levels alone; the sampler draws the rest. There are
    never more points than trials.

    Args:
        search: With the dataset's space, first points and number of trials.
        dataset: The target dataset.
        ranked: Values of `joint_teacher.levels`, best first, such as ``"L2"`` or
            ``"embedding,stride16"``. Those that the space does not have are passed over.
    """
    points = [dict(point) for point in search.points_of(dataset)]
    covered = {levels for point in points for levels in _levels_of(point)}
    values = _levels_in(search.space_of(dataset))
    fresh = dict.fromkeys(
        levels for levels in map(parse_levels, ranked) if levels in values.keys() - covered
    )
    added = [{LEVELS_KEY: values[levels]} for levels in list(fresh)[:_RANKED_POINTS]]
    return (points + added)[: search.trials]


def _levels_of(point: Mapping[str, Any]) -> list[tuple[str, ...]]:
    return [parse_levels(point[LEVELS_KEY])] if LEVELS_KEY in point else []


def _levels_in(space: SearchSpace) -> dict[tuple[str, ...], Any]:
    """Return the values of the space's levels by the levels they stand for."""
    values = space[LEVELS_KEY].values() if LEVELS_KEY in space else []
    return {parse_levels(value): value for value in values}
