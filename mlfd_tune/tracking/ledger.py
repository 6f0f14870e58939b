"""What has been sent: the position in the journal and the MLflow run of every local id."""

from __future__ import annotations

import json
import sqlite3
import threading
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from mlfd_tune.tracking.journal import Line

__all__ = ["Ledger", "Sent"]


@dataclass(frozen=True)
class Sent:
    """How far the journal has been sent.

    Attributes:
        position: Byte position in the journal behind the last line that was sent; 0 for none.
        lines: Number of lines that were sent.
    """

    position: int = 0
    lines: int = 0


class Ledger:
    """A small SQLite file that remembers progress durably. Safe to use from several threads.

    Losing it loses no data: the journal is then sent again from its beginning, and every line finds
    what it made before.

    Args:
        path: The file; made if it does not exist.
    """

    def __init__(self, path: Path) -> None:
        self._lock = threading.Lock()
        self._database = sqlite3.connect(path, check_same_thread=False, isolation_level=None)
        self._database.execute("PRAGMA synchronous = FULL")
        self._database.executescript(
            """
            CREATE TABLE IF NOT EXISTS progress (
                one INTEGER PRIMARY KEY CHECK (one = 1),
                target TEXT, position INTEGER, lines INTEGER
            );
            CREATE TABLE IF NOT EXISTS runs (
                local_id TEXT PRIMARY KEY, run_id TEXT NOT NULL, sealed INTEGER NOT NULL
            );
            CREATE TABLE IF NOT EXISTS postponed (number INTEGER PRIMARY KEY, line TEXT NOT NULL);
            CREATE TABLE IF NOT EXISTS doubt (one INTEGER PRIMARY KEY CHECK (one = 1));
            INSERT OR IGNORE INTO progress VALUES (1, NULL, 0, 0);
            """
        )
        target, position, lines = self._database.execute(
            "SELECT target, position, lines FROM progress"
        ).fetchone()
        self.target: str | None = target
        self.sent = Sent(position, lines)
        rows = self._database.execute(
            "SELECT local_id, run_id, sealed FROM runs ORDER BY rowid"
        ).fetchall()
        self._runs: dict[str, str] = {local_id: run_id for local_id, run_id, _ in rows}
        self._sealed: set[str] = {local_id for local_id, _, sealed in rows if sealed}
        self._in_doubt = self._database.execute("SELECT 1 FROM doubt").fetchone() is not None
        self._postponed: dict[int, Line] = {
            number: json.loads(line)
            for number, line in self._database.execute(
                "SELECT number, line FROM postponed ORDER BY number"
            )
        }

    @property
    def postponed(self) -> Mapping[int, Line]:
        """Lines that were put off, by number, oldest first."""
        return self._postponed

    @property
    def in_doubt(self) -> bool:
        """Whether a request was given up that may have made, or make yet, a run nobody knows."""
        return self._in_doubt

    @in_doubt.setter
    def in_doubt(self, value: bool) -> None:
        if value != self._in_doubt:
            with self._lock:
                self._database.execute(
                    "INSERT OR IGNORE INTO doubt VALUES (1)" if value else "DELETE FROM doubt"
                )
                self._in_doubt = value

    @property
    def last_run_id(self) -> str | None:
        """The MLflow run that was remembered last."""
        return next(reversed(self._runs.values()), None)

    @property
    def run_ids(self) -> frozenset[str]:
        """All MLflow runs that are remembered."""
        return frozenset(self._runs.values())

    def aim_at(self, target: str) -> None:
        """Remember where the lines go."""
        if target != self.target:
            with self._lock:
                self._database.execute("UPDATE progress SET target = ?", (target,))
                self.target = target

    def start_again(self) -> None:
        """Forget what was sent: it is not there any more, so that all is to be sent anew."""
        with self._lock:
            self._database.execute("BEGIN")
            self._database.execute("DELETE FROM runs")
            self._database.execute("DELETE FROM postponed")  # their lines come again
            self._database.execute("UPDATE progress SET target = NULL, position = 0, lines = 0")
            self._database.execute("COMMIT")
            self.target, self.sent = None, Sent()
            self._runs.clear()
            self._sealed.clear()
            self._postponed.clear()

    def postpone(self, line: Line) -> None:
        """Put off a line that cannot be sent now, so that those behind it can."""
        with self._lock:
            done = self._database.execute(
                "INSERT INTO postponed (line) VALUES (?)", (json.dumps(line),)
            )
            assert done.lastrowid is not None
            self._postponed[done.lastrowid] = line

    def forget_postponed(self, number: int) -> None:
        """Forget a line that was put off: it is sent."""
        with self._lock:
            self._database.execute("DELETE FROM postponed WHERE number = ?", (number,))
            self._postponed.pop(number)

    def remember_run(self, local_id: str, run_id: str, *, sealed: bool) -> None:
        """Remember the MLflow run of a local id.

        Args:
            local_id: The caller's name for the run.
            run_id: MLflow's.
            sealed: The run is finished for good, so nothing more is written to it.
        """
        with self._lock:
            self._database.execute(
                "INSERT OR REPLACE INTO runs VALUES (?, ?, ?)", (local_id, run_id, int(sealed))
            )
            self._runs[local_id] = run_id
            if sealed:
                self._sealed.add(local_id)

    def remember_sent(self, sent: Sent) -> None:
        """Remember that the journal has been sent up to here."""
        with self._lock:
            self._database.execute(
                "UPDATE progress SET position = ?, lines = ?", (sent.position, sent.lines)
            )
            self.sent = sent

    def run_id(self, local_id: str) -> str | None:
        """Return the MLflow run id of a local id, or None when it has none yet."""
        return self._runs.get(local_id)

    def is_sealed(self, local_id: str) -> bool:
        """Tell whether nothing more is written to the run."""
        return local_id in self._sealed

    def close(self) -> None:
        """Close the file."""
        with self._lock:
            self._database.close()
