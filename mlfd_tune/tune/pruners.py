"""Pruners: what stops the poor trials of a study early.

All of them read the study's storage and keep nothing of their own, so their decisions survive a
driver that dies.
"""

from __future__ import annotations

import warnings

import optuna
from optuna.pruners import (
    BasePruner,
    HyperbandPruner,
    MedianPruner,
    NopPruner,
    SuccessiveHalvingPruner,
)

from mlfd_tune.config.search import SearchSettings
from mlfd_tune.core.errors import UserError

__all__ = ["make_pruner"]


def make_pruner(settings: SearchSettings, epochs: int) -> BasePruner:
    """Build the pruner `settings.scheduler` names.

    Args:
        settings: With `scheduler`, `grace_epochs` and `reduction_factor`.
        epochs: Of a trial that is not stopped.

    Raises:
        UserError: If the grace period is longer than a trial.
    """
    if settings.scheduler == "none":
        return NopPruner()
    grace, factor = settings.grace_epochs, settings.reduction_factor
    if grace > epochs:
        raise UserError(
            f"grace_epochs: {grace} is more than the {epochs} epochs of a trial "
            f"(allowed: 1 to {epochs}, or scheduler: none)"
        )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        match settings.scheduler:
            case "asha":
                return SuccessiveHalvingPruner(min_resource=grace, reduction_factor=factor)
            case "hyperband":
                return HyperbandPruner(
                    min_resource=grace, max_resource=epochs, reduction_factor=factor
                )
            case "median":
                return MedianPruner(n_warmup_steps=grace)
