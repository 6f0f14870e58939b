"""`compare`: the arms that the file names."""

from __future__ import annotations

from mlfd_tune.ablation.designs.arm import Arm, plain
from mlfd_tune.config import AblationConfig

__all__ = ["compare"]


def compare(config: AblationConfig, dataset: str) -> list[Arm]:
    """The arms named; the first is the reference."""
    arms = config.design.of(dataset).arms
    first = next(iter(arms))
    return [
        Arm(name, {key: plain(value) for key, value in params.items()}, name == first)
        for name, params in arms.items()
    ]
