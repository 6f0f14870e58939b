"""The folder in which tracking data waits for MLflow, owned by one process at a time.

``journal.jsonl`` holds one line per call, ``files/`` copies of artifacts that are still to be sent,
``ledger.sqlite`` what has been sent, ``rejected.jsonl`` what MLflow refused for good,
``target.json`` where it all goes.
"""

from __future__ import annotations

import fcntl
import json
import os
import shutil
import sqlite3
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from mlfd_tune.core.errors import UserError
from mlfd_tune.tracking.journal import Journal, Line, parsed
from mlfd_tune.tracking.ledger import Ledger

__all__ = ["JOURNAL", "LEDGER", "LOCK", "OUTBOX", "REJECTED", "InUseError", "Outbox"]

OUTBOX: Final = "tracking"
"""Name of a run's outbox in the run's folder."""
JOURNAL: Final = "journal.jsonl"
LEDGER: Final = "ledger.sqlite"
LOCK: Final = "lock"
REJECTED: Final = "rejected.jsonl"

_BYTES_AT_ONCE = 1 << 22

_open_here: set[Path] = set()


class InUseError(UserError):
    """Another process holds the outbox."""


class Outbox:
    """One process's hold on an outbox folder.

    Args:
        folder: Made if it does not exist.
        wait_s: How long to wait for another process to let go of the folder.

    Raises:
        InUseError: When another process holds the folder.
        UserError: When it cannot be written.
    """

    def __init__(self, folder: Path, wait_s: float = 5.0) -> None:
        self.folder = folder.resolve()
        self.files = self.folder / "files"
        self._rejected = self.folder / REJECTED
        try:
            self.files.mkdir(parents=True, exist_ok=True)
            self._lock = _take_lock(self.folder, wait_s)
            self.journal = Journal(self.folder / JOURNAL, {"outbox": uuid.uuid4().hex[:12]})
            self.ledger = Ledger(self.folder / LEDGER)
        except (OSError, sqlite3.Error) as error:
            raise UserError(f"tracking outbox {folder} cannot be used: {error}") from error
        self.id: str = self.journal.first_line["outbox"]
        self._drop_unneeded_copies()

    def keep_copy(self, path: Path) -> str:
        """Copy a file or folder into the outbox and return its name relative to `files`.

        Raises:
            OSError: When the source cannot be read or the copy not be written.
        """
        with self._new_place() as place:
            copy = place / path.name
            if path.is_dir():
                shutil.copytree(path, copy)
            else:
                shutil.copyfile(path, copy)
        return str(copy.relative_to(self.files))

    def keep_text(self, text: str, name: str) -> str:
        """Write `text` to a file called `name` in the outbox and return it relative to `files`."""
        with self._new_place() as place:
            copy = place / name
            copy.write_text(text, encoding="utf-8")
        return str(copy.relative_to(self.files))

    def forget_copy(self, name: str) -> None:
        """Delete a copy that was sent."""
        shutil.rmtree((self.files / name).parent, ignore_errors=True)

    def reject(self, line: Line, error: str) -> None:
        """Put aside what MLflow refuses for good, with its reason."""
        with self._rejected.open("a", encoding="utf-8") as file:
            file.write(json.dumps({**line, "error": error}, ensure_ascii=False) + "\n")

    def close(self) -> None:
        """Let go of the folder."""
        self.journal.close()
        self.ledger.close()
        os.close(self._lock)
        _open_here.discard(self.folder)

    def _drop_unneeded_copies(self) -> None:
        """Delete copies that a killed process did not finish, or sent and did not live to delete.

        Those of refused artifacts stay.
        """
        places = {path.name for path in self.files.iterdir()}
        if not places:
            return
        lines = [*self.ledger.postponed.values(), *self._refused_lines()]
        position = max(self.ledger.sent.position, self.journal.start)
        while position < self.journal.size:
            more, position = self.journal.read(position, _BYTES_AT_ONCE)
            lines += more
        needed = {line["file"].split("/", 1)[0] for line in lines if line.get("op") == "artifact"}
        for name in places - needed:
            shutil.rmtree(self.files / name, ignore_errors=True)

    def _refused_lines(self) -> Iterator[Line]:
        if self._rejected.exists():
            for text in self._rejected.read_text(encoding="utf-8", errors="replace").splitlines():
                yield parsed(text)

    @contextmanager
    def _new_place(self) -> Iterator[Path]:
        """A folder for one copy, which keeps its name; removed when the copy does not succeed."""
        place = self.files / uuid.uuid4().hex[:16]
        place.mkdir()
        try:
            yield place
        except BaseException:
            shutil.rmtree(place, ignore_errors=True)
            raise


def _take_lock(folder: Path, wait_s: float) -> int:
    """Lock the folder for this process and return the lock's file descriptor.

    A POSIX record lock rather than ``flock``: forked children that outlive a killed driver do not
    inherit it, so they cannot keep a resumed run out. It does not hold off the same process, hence
    the set of folders that are open here.
    """
    if folder in _open_here:
        raise UserError(f"tracking outbox {folder} is already open in this process")
    descriptor = os.open(folder / LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    deadline = time.monotonic() + wait_s
    while True:
        try:
            fcntl.lockf(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except (BlockingIOError, PermissionError):
            if time.monotonic() > deadline:
                owner = os.pread(descriptor, 20, 0).decode() or "unknown"
                os.close(descriptor)
                raise InUseError(
                    f"tracking outbox {folder} is in use by process {owner}: "
                    "is the same sweep already running?"
                ) from None
            time.sleep(0.1)
            continue
        os.truncate(descriptor, 0)
        os.pwrite(descriptor, str(os.getpid()).encode(), 0)
        _open_here.add(folder)
        return descriptor
