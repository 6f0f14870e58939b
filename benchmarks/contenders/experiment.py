"""The experiment file of a benchmark, and the points that its trials are given."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import optuna
import yaml

from mlfd_tune.config.space import SearchSpace
from mlfd_tune.tune.space import sample

__all__ = ["draw_points", "write_experiment"]

Point = dict[str, Any]


def draw_points(
    space: Mapping[str, Any], count: int, seed: int, levels: tuple[str, ...] = ()
) -> list[Point]:
    """Return points drawn at random from a search space, the same ones for the same seed.

    Args:
        space: As it stands in YAML.
        count: How many.
        seed: Of the draws.
        levels: Those that are fused, where the space does not say.
    """
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed))
    drawn = SearchSpace.model_validate(dict(space))
    return [sample(study.ask(), drawn, levels) for _ in range(count)]


def write_experiment(
    path: Path, content: Mapping[str, Any], space: Mapping[str, Any], points: Sequence[Point]
) -> Path:
    """Write a sweep that tries exactly `points`, with no confirmation, and return its path.

    Args:
        path: The file to write.
        content: Datasets, teachers and how all is trained.
        space: The search space that the points come from.
        points: The trials of every target dataset.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    sweep = {
        "kind": "sweep",
        "name": path.stem,
        **content,
        "search": {"trials": len(points), "space": dict(space), "first_points": list(points)},
        "confirm": {"top_k": 0},
    }
    path.write_text(yaml.safe_dump(sweep, sort_keys=False), encoding="utf-8")
    return path
