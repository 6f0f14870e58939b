"""Which levels a sweep tries early: ranked by the teachers' features before the search begins."""

from __future__ import annotations

from mlfd_tune.config import Loaded, SweepConfig, pipeline_settings
from mlfd_tune.config.space import LEVELS_KEY
from mlfd_tune.core.layer_choice import best_levels, level_scores
from mlfd_tune.core.pipeline import Pipeline
from mlfd_tune.core.store import Stage
from mlfd_tune.tune.trial import TrialContext

__all__ = ["rank_levels_of_targets", "ranking_stages"]


def ranking_stages(loaded: Loaded, context: TrialContext) -> list[Stage]:
    """Return what a sweep's rankings are made from; none where it asks for no ranking."""
    pipeline = _pipeline(loaded, context)
    return [level_scores(pipeline, target) for target in _values_by_target(loaded)]


def rank_levels_of_targets(loaded: Loaded, context: TrialContext) -> dict[str, tuple[str, ...]]:
    """Return the values of `joint_teacher.levels` in every target's space, best first.

    The teachers are those of the experiment file: keys of theirs that are searched play no part.
    """
    pipeline = _pipeline(loaded, context)
    return {
        target: tuple(map(_text, best_levels(pipeline, target, values, context.store)))
        for target, values in _values_by_target(loaded).items()
    }


def _values_by_target(loaded: Loaded) -> dict[str, list[str | list[str]]]:
    config = loaded.config
    assert isinstance(config, SweepConfig)
    if not config.search.rank_levels:
        return {}
    spaces = {target: config.search.space_of(target) for target in config.target_names}
    return {
        target: space[LEVELS_KEY].values()
        for target, space in spaces.items()
        if LEVELS_KEY in space
    }


def _pipeline(loaded: Loaded, context: TrialContext) -> Pipeline:
    return Pipeline(pipeline_settings(loaded.config), context.catalogue)


def _text(levels: str | list[str]) -> str:
    return levels if isinstance(levels, str) else ",".join(levels)
