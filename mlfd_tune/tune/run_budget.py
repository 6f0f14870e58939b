"""The cap on what a run's students take: read from its configuration, and checked beforehand."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from mlfd_tune.config import Loaded, SweepConfig
from mlfd_tune.core.errors import UserError
from mlfd_tune.core.sizes import size_text
from mlfd_tune.core.stages import StudentStage
from mlfd_tune.tune.disk_budget import CAP, DiskBudget, NoCap, student_bytes
from mlfd_tune.tune.trial import TrialContext, TrialRequestConfig, student_of

__all__ = ["budget_of", "check_budget"]


def budget_of(loaded: Loaded, folder: Path, root: Path) -> NoCap:
    """Return how much disk the students of a run may take.

    Args:
        loaded: The experiment.
        folder: The folder of the run.
        root: Of the store.
    """
    cap = loaded.config.store.study_max_bytes
    return NoCap() if cap is None else DiskBudget(folder / "students", root, cap, _kept(loaded))


def check_budget(
    loaded: Loaded, context: TrialContext, counts: Mapping[str, Mapping[str, int]]
) -> None:
    """Check that the cap leaves room for the students that are to be kept.

    Args:
        loaded: The experiment.
        context: What its trials share.
        counts: How many trials each target has, by phase.

    Raises:
        UserError: It does not; names what they take.
    """
    cap = loaded.config.store.study_max_bytes
    if cap is None:
        return
    needed = 0
    for target, phases in counts.items():
        stage = student_of(context, TrialRequestConfig("", target, {}))
        if isinstance(stage, StudentStage):
            searched = phases.get("search", 0)
            kept = sum(phases.values()) - searched + min(_kept(loaded), searched)
            needed += kept * student_bytes(stage)
    if needed > cap:
        raise UserError(
            f"{CAP}: {size_text(cap)} are too few for the students that are to be kept, which "
            f"take up to {size_text(needed)} (allowed: at least as much, or null for no cap)"
        )


def _kept(loaded: Loaded) -> int:
    config = loaded.config
    # Without a confirmation it is the best one that is exported.
    return max(config.confirm.top_k, 1) if isinstance(config, SweepConfig) else 1
