"""Keeping the terminal for what users want to see: no chatter from Ray, MLflow, Optuna or torch."""

from __future__ import annotations

import logging
import os
import warnings
from collections.abc import Iterator
from contextlib import contextmanager

__all__ = ["quiet_environment", "quiet_process", "quiet_tune"]

# Read by Ray when it is imported or when its processes start, so they are set before that.
_ENVIRONMENT = {
    "RAY_AIR_NEW_OUTPUT": "0",
    "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",
    "TUNE_DISABLE_AUTO_CALLBACK_SYNCER": "1",
    "TUNE_PRINT_ALL_TRIAL_ERRORS": "0",
    "TUNE_DISABLE_SIGINT_HANDLER": "1",  # Tune's own would go on to the next phase
    "RAY_CHDIR_TO_TRIAL_DIR": "0",
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
    "RAY_DEDUP_LOGS": "1",
    # Of what Ray would print by itself, such as pages of its logs when a part of it dies: nothing.
    # It goes to the standard output, which may hold JSON.
    "RAY_DEDUP_LOGS_SKIP_REGEX": ".",
    "RAY_TRAIN_ENABLE_V2_MIGRATION_WARNINGS": "0",
    "RAY_USAGE_STATS_ENABLED": "0",
    # Off, Ray that is started on this machine listens on 127.0.0.1 only, on Linux too. A cluster
    # can be joined all the same.
    "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0",
    "TUNE_WARN_INSUFFICENT_RESOURCE_THRESHOLD_S": "1000000",
    "TUNE_WARN_EXCESSIVE_EXPERIMENT_CHECKPOINT_SYNC_THRESHOLD_S": "0",
    # Tune writes the state of all trials again and again, for a restore that is not used here.
    "TUNE_GLOBAL_CHECKPOINT_S": "1000000",
    "PYTHONWARNINGS": "ignore",
}


_TUNE = ("ray.tune.tune", "ray.tune.execution.tune_controller")


def quiet_environment() -> None:
    """Set, for this process and those it starts, what the libraries read from the environment."""
    for name, value in _ENVIRONMENT.items():
        os.environ.setdefault(name, value)


def quiet_process() -> None:
    """Raise the log levels of talkative libraries and drop their warnings in this process."""
    warnings.filterwarnings("ignore")
    for name in ("ray", "ray.tune", "ray.train", "optuna", "alembic", "mlflow", "filelock"):
        logging.getLogger(name).setLevel(logging.ERROR)


@contextmanager
def quiet_tune() -> Iterator[None]:
    """Keep Tune in the block from logging what is told elsewhere, in a line.

    That is which trials failed, what it raises itself, and that it cannot write down its own state,
    which nobody reads.
    """
    loggers = list(map(logging.getLogger, _TUNE))
    before = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.CRITICAL)
    try:
        yield
    finally:
        for logger, level in zip(loggers, before, strict=True):
            logger.setLevel(level)
