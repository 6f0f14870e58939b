"""What commands that draw share: how figures' files are called, and what is said of them."""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Final

from mlfd_tune.cli.terminal import echo

__all__ = ["FIGURES", "described", "file_name", "tell"]

FIGURES: Final = "figures"
"""The folder of figures among a run's artifacts."""


def described(
    experiment: str, run: str, files: Iterable[Path], logged: str | None
) -> dict[str, Any]:
    """Return what programs are told of figures.

    Args:
        experiment: The experiment's name.
        run: Id of the run that they are of.
        files: What was written.
        logged: MLflow's id of the run that has them among its artifacts, if one has.
    """
    return {
        "experiment": experiment,
        "run": run,
        "files": [str(file) for file in files],
        "logged_to": logged,
    }


def tell(files: Iterable[Path], logged: str | None) -> None:
    """Print which files were written and where else they are."""
    where = f"; also in MLflow: run {logged}, {FIGURES}/" if logged else ""
    echo(f"{' and '.join(map(str, files))}{where}")


def file_name(*parts: str) -> str:
    """Return a file's name without suffix in which no part can point to another folder."""
    return re.sub(r"[^\w.-]+", "_", "_".join(parts)).strip(".") or "figure"
