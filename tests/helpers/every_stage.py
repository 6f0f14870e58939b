"""One real stage of every kind, as small as they get, and a store that has them all."""

from __future__ import annotations

import shutil
from pathlib import Path

from mlfd_tune.core.caching import Caching
from mlfd_tune.core.layer_choice import level_scores
from mlfd_tune.core.pipeline import Pipeline
from mlfd_tune.core.stages import EvaluationStage, RepresentationStage
from mlfd_tune.core.store import Stage, Store, walk
from tests.helpers.pipelines import CATALOGUE, settings

__all__ = ["compute_all", "every_stage"]

_WEIGHTS = "weights.safetensors"
_METHODS = ("mlfd", "none", "own_teacher", "kd", "joint_teacher", "multi_head", "unic")


def every_stage(folder: Path) -> dict[str, Stage]:
    """Return a stage of each kind, by its kind and what makes it another one than the rest.

    Args:
        folder: Has the weights that a teacher is loaded from, see `compute_all`.
    """
    plans = {method: _plan(method=method) for method in _METHODS}
    student = plans["mlfd"].student("one")
    tops: list[Stage] = [plan.student("one") for plan in plans.values()]
    tops += [
        EvaluationStage(student.reader(), student.data),
        RepresentationStage(student.reader(), student.data),
        level_scores(plans["mlfd"], "one"),
    ]
    found: dict[str, Stage] = {}
    for stage in walk(tops):
        found.setdefault(type(stage).__name__ + _format(stage), stage)
    weights = folder / _WEIGHTS
    if weights.is_file():
        loaded = _plan(teacher={"arch": "test_resnet", "weights": str(weights)}).teacher("one")
        found[type(loaded).__name__] = loaded
    return found


def compute_all(folder: Path) -> Store:
    """Return the store in a folder with an artifact of every kind."""
    store = Store(folder / "store")
    for stage in every_stage(folder).values():
        artifact = store.get_or_compute(stage)
        if type(stage).__name__ == "TeacherStage" and not (folder / _WEIGHTS).exists():
            shutil.copy(artifact.path / "model.safetensors", folder / _WEIGHTS)
    for stage in every_stage(folder).values():  # one of them is loaded from a teacher's weights
        store.get_or_compute(stage)
    return store


def _plan(**changes: object) -> Pipeline:
    return Pipeline(settings(**changes), CATALOGUE, Caching())


def _format(stage: Stage) -> str:
    """Features are written by another code for each format."""
    kept = getattr(stage.spec, "dtype", None)
    return f"/{kept}" if kept else ""
