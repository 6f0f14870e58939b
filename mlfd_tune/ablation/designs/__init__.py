"""Designs: which arms are compared, and which of them is the reference.

One file per family of designs. Each kind is a function of the ablation and a target dataset.
"""

from __future__ import annotations

from collections.abc import Callable

from mlfd_tune.ablation.designs.arm import Arm
from mlfd_tune.ablation.designs.factorial import grid, one_at_a_time
from mlfd_tune.ablation.designs.leave_one_out import leave_one_out
from mlfd_tune.ablation.designs.named import compare
from mlfd_tune.ablation.designs.teacher_subsets import teacher_subsets
from mlfd_tune.config import AblationConfig
from mlfd_tune.config.design import DesignKind

__all__ = ["DESIGNS", "Arm", "arms_of"]

DESIGNS: dict[DesignKind, Callable[[AblationConfig, str], list[Arm]]] = {
    "grid": grid,
    "one_at_a_time": one_at_a_time,
    "compare": compare,
    "leave_one_out": leave_one_out,
    "teacher_subsets": teacher_subsets,
}


def arms_of(config: AblationConfig, dataset: str | None = None) -> list[Arm]:
    """Return the arms of an ablation, the reference first.

    Args:
        config: The ablation.
        dataset: The target dataset; None for the arms that every target has.

    Raises:
        UserError: The design has no arms for this configuration.
    """
    if dataset is not None:
        return _arms(config, dataset)
    first, *others = [_arms(config, target) for target in config.target_names]
    return [arm for arm in first if all(arm in arms for arms in others)]


def _arms(config: AblationConfig, dataset: str) -> list[Arm]:
    arms = DESIGNS[config.design.kind](config, dataset)
    return sorted(arms, key=lambda arm: not arm.is_reference)
