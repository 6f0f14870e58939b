"""What waits in the outboxes of all runs, told without disturbing the processes that use them."""

from __future__ import annotations

import contextlib
import fcntl
import os
import shlex
import sqlite3
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from mlfd_tune.tracking.client import absolute_uri
from mlfd_tune.tracking.outbox import JOURNAL, LEDGER, LOCK, OUTBOX, REJECTED
from mlfd_tune.tracking.target import Target

__all__ = ["RUNS", "Waiting", "flush_command", "undelivered", "waiting_for", "waiting_in"]

RUNS: Final = Path("runs")
"""Where runs are, if nothing else is said."""
_BLOCK = 1 << 20


@dataclass(frozen=True)
class Waiting:
    """The outbox of one run.

    Attributes:
        experiment: The experiment's name, which is that of a folder.
        run: The run's id, likewise.
        folder: The outbox.
        target: Where its records go; None where it does not say.
        records: Number of records that have not been sent.
        refused: Number of records that MLflow refused for good.
        owner: Id of the process that has it open, ``unknown`` for one that does not say, or None.
    """

    experiment: str
    run: str
    folder: Path
    target: Target | None
    records: int
    refused: int
    owner: str | None

    @property
    def name(self) -> str:
        """Experiment and run, as a command takes them."""
        return f"{self.experiment}/{self.run}"

    def as_json(self) -> dict[str, Any]:
        """Return what a program may want to know."""
        return {
            "experiment": self.experiment,
            "run": self.run,
            "folder": str(self.folder),
            "uri": self.target and self.target.uri,
            "password_needed": bool(self.target and self.target.secret),
            "records": self.records,
            "refused": self.refused,
            "process": self.owner,
        }


def flush_command(folder: Path) -> str:
    """Return the command line that sends what waits in a run's outbox, as one types it here."""
    runs = folder.parents[2]
    elsewhere = [] if runs == RUNS.absolute() else ["--runs", str(runs)]
    return shlex.join(["mlfd-tune", "tracking", "flush", *elsewhere])


def waiting_for(runs: Path = RUNS, experiment: str | None = None) -> list[Waiting]:
    """Return the outboxes of all runs, the oldest first.

    Args:
        runs: The folder of runs; it need not exist.
        experiment: Only those of this experiment.
    """
    found = []
    for journal in runs.absolute().glob(f"*/*/{OUTBOX}/{JOURNAL}"):
        folder = journal.parent
        name, run = folder.parts[-3:-1]
        if experiment in (None, name):
            owner, records = _owner(folder), waiting_in(folder)
            refused = _lines(folder / REJECTED, 0)
            target = Target.read(folder)
            found.append(Waiting(name, run, folder, target, records, refused, owner))
    return sorted(found, key=lambda waiting: (waiting.run, waiting.experiment))


def undelivered(uri: str, experiment: str | None = None, runs: Path = RUNS) -> str | None:
    """Return a line on records of finished or dead runs that a database lacks, or None.

    What a running process has just written is on its way.

    Args:
        uri: The database that is read.
        experiment: Only records of this experiment.
        runs: The folder of runs.
    """
    uri = absolute_uri(uri)
    found = [
        waiting
        for waiting in waiting_for(runs, experiment)
        if waiting.records and waiting.owner is None and waiting.target
        if waiting.target.is_meant_by(uri)
    ]
    if not found:
        return None
    records = sum(waiting.records for waiting in found)
    names = ", ".join(waiting.name for waiting in found[:3]) + (", ..." if found[3:] else "")
    return f"{records} records of {names} are not here yet: {flush_command(found[0].folder)}"


def waiting_in(folder: Path) -> int:
    """Return how many records of an outbox have not been sent."""
    journal = folder / JOURNAL
    position, postponed = _progress(folder / LEDGER)
    if position:
        return _lines(journal, position) + postponed
    return max(0, _lines(journal, 0) - 1) + postponed  # its first line is no record


def _progress(ledger: Path) -> tuple[int, int]:
    """Return how far the journal was sent, in bytes, and how many records were put off."""
    try:
        opened = sqlite3.connect(f"{ledger.as_uri()}?mode=ro", uri=True)
        with contextlib.closing(opened) as database:
            (position,) = database.execute("SELECT position FROM progress").fetchone()
            (postponed,) = database.execute("SELECT count(*) FROM postponed").fetchone()
            return position, postponed
    except (sqlite3.Error, TypeError):  # not made yet, or damaged: all is sent again
        return 0, 0


def _lines(path: Path, position: int) -> int:
    """Return the number of whole lines from a position on; 0 for a file that is not there."""
    try:
        with path.open("rb") as file:
            file.seek(position)
            return sum(block.count(b"\n") for block in iter(lambda: file.read(_BLOCK), b""))
    except FileNotFoundError:
        return 0


def _owner(folder: Path) -> str | None:
    """Return the process that holds an outbox's lock.

    Asking for the lock is the only portable way to see who has it; it is given back at once.
    """
    try:
        descriptor = os.open(folder / LOCK, os.O_RDWR | os.O_CLOEXEC)
    except OSError:
        return None
    try:
        fcntl.lockf(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except (BlockingIOError, PermissionError):
        return os.pread(descriptor, 20, 0).decode() or "unknown"
    finally:
        os.close(descriptor)
    return None
