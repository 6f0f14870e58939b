"""Whose teachers a student learns from, and the key that chooses them."""

from __future__ import annotations

from mlfd_tune.core.methods import METHODS, Mlfd
from mlfd_tune.core.settings import PipelineSettings

__all__ = ["Lineup", "lineup_of"]

Lineup = tuple[str, tuple[str, ...]]
"""The dotted key that chooses teachers, and the datasets whose teachers it chooses now."""


def lineup_of(settings: PipelineSettings, target: str) -> Lineup | None:
    """Return the lineup of a target's student; None where its method leaves nothing to choose.

    A control that learns from its own teacher has a lineup of that one.
    """
    method = METHODS[settings.method]
    if issubclass(method, Mlfd):
        return "joint_teacher.teachers", tuple(method().fused(settings, target)[0])
    if "unic" in method.sections:
        return "unic.teachers", tuple(settings.unic.teachers or settings.datasets)
    return None
