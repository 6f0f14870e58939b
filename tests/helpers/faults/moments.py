"""Moments of a running sweep, seen from outside by what lies on disk."""

from __future__ import annotations

import contextlib
import sqlite3
from pathlib import Path

__all__ = ["computing", "published", "reported"]


def reported(folder: Path) -> int:
    """Return how many epochs the trials of the search have reported."""
    count = 0
    for studies in folder.glob("runs/*/*/studies.db"):
        # Closed at once, and only read: Optuna may just be making the tables.
        with (
            contextlib.suppress(sqlite3.Error),
            contextlib.closing(sqlite3.connect(f"file:{studies}?mode=ro", uri=True)) as database,
        ):
            (found,) = database.execute("SELECT count(*) FROM trial_intermediate_values").fetchone()
            count += found
    return count


def published(folder: Path, stage: str) -> int:
    """Return how many artifacts of a stage are in the store."""
    return len(list(folder.glob(f".mlfd/store/artifacts/{stage}/*")))


def computing(folder: Path) -> int:
    """Return how many stages somebody has claimed."""
    return len(list(folder.glob(".mlfd/store/locks/*.lock")))
