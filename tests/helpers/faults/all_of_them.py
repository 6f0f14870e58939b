"""All invariants of a sweep that has ended, one after the other."""

from __future__ import annotations

from pathlib import Path

from tests.helpers.faults.checks import (
    Snapshot,
    check_artifacts,
    check_best,
    check_leaks,
    check_metrics,
    check_states,
)
from tests.helpers.faults.outcome import Outcome
from tests.helpers.faults.record import Held

__all__ = ["check_all"]


def check_all(held: Held, folder: Path, before: Snapshot, undisturbed: Outcome) -> None:
    """Check what must hold after every fault, once the sweep has been resumed and has ended."""
    with held("states"):
        check_states(folder)
    with held("artifacts"):
        check_artifacts(folder)
    with held("metrics"):
        check_metrics(folder)
    with held("best"):
        check_best(folder, undisturbed)
    with held("leaks"):
        check_leaks(before, folder)
