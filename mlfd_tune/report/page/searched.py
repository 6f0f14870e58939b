"""The trials of a sweep from MLflow, with what each of them drew."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from mlfd_tune.config.distributions import Choice, FloatRange, IntRange
from mlfd_tune.config.space import LEVELS_KEY, SearchSpace
from mlfd_tune.core.models.levels import parse_levels
from mlfd_tune.report.page.material import Material
from mlfd_tune.report.page.recorded import TrainingRun
from mlfd_tune.report.trials import SearchTrial, TrialEnd

__all__ = ["METRIC", "search_trials", "spaces_of"]

METRIC: Final = "val/acc1"
_ENDS: Final[Mapping[str, TrialEnd]] = {
    "FINISHED": "complete",
    "KILLED": "pruned",
    "FAILED": "failed",
}


def search_trials(material: Material) -> list[SearchTrial]:
    """Return all trials of a sweep; their params are left out where the space is not known."""
    spaces = spaces_of(material)
    base = parse_levels(material.sweep.joint_teacher.levels) if material.sweep else ()
    return [
        SearchTrial(
            dataset=run.dataset,
            number=run.number,
            end=_ENDS.get(run.status, "running"),
            values=material.history(run.run_id, METRIC),
            params=_drawn(run, spaces[run.dataset], base) if run.dataset in spaces else {},
        )
        for run in material.of_kind("trial")
    ]


def spaces_of(material: Material) -> dict[str, SearchSpace]:
    """Return what was searched, by dataset; empty where the configuration is not known."""
    sweep = material.sweep
    if sweep is None:
        return {}
    return {name: sweep.search.space_of(name) for name in sweep.target_names}


def _drawn(run: TrainingRun, space: SearchSpace, base: tuple[str, ...]) -> dict[str, Any]:
    """Return what a trial drew; its settings hold values, too, for what did not exist in it."""
    chosen: dict[str, Any] = {}
    for key, distribution in space.ordered():
        text = run.params.get(key)
        if text is None or not space.is_active(key, chosen, base):
            continue
        value = _value(key, distribution, text)
        if value is not None:
            chosen[key] = value
    return chosen


def _value(key: str, distribution: FloatRange | IntRange | Choice, text: str) -> Any:
    """Return the value that MLflow keeps as a text; None where it is none of the space's."""
    if isinstance(distribution, Choice):
        return next((v for v in distribution.values() if text in _texts(key, v)), None)
    try:
        return float(text) if isinstance(distribution, FloatRange) else int(text)
    except ValueError:
        return None


def _texts(key: str, value: Any) -> set[str]:
    texts = {str(value)}
    if isinstance(value, list):
        texts.add(",".join(map(str, value)))
    if key == LEVELS_KEY:
        texts.add(",".join(parse_levels(value)))
    return texts
