"""An append-only file of JSON lines that a killed process leaves readable."""

from __future__ import annotations

import json
import logging
import os
from pathlib import Path
from typing import Any

__all__ = ["Journal", "Line", "parsed"]

Line = dict[str, Any]

_log = logging.getLogger(__name__)


class Journal:
    """Lines are whole once `append` returns; a line cut off by a kill is dropped on opening.

    A line survives the death of the process at once and the death of the machine after `sync`.
    While the disk is full, lines wait in memory and are written with a later call; `require_kept`
    tells of it.

    Not thread-safe: the owner serialises `append`. `read` may be called from another thread.

    Args:
        path: The file; made with its first line if it does not exist.
        first_line: What a new journal begins with; it is no line of its own.

    Attributes:
        first_line: What the journal begins with.
        start: Position behind the first line.
        size: Position behind the last whole line.
        lines: Number of lines behind the first.

    Raises:
        OSError: When the file cannot be written at all.
    """

    def __init__(self, path: Path, first_line: Line) -> None:
        self._file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o644)
        self._path = path
        self._waiting: list[bytes] = []
        self.size = self._drop_cut_off_line()
        if not self.size:
            self._write(json.dumps(first_line).encode() + b"\n")
            self.sync()
        with path.open("rb") as file:
            first = file.readline()
            self.lines = sum(block.count(b"\n") for block in iter(lambda: file.read(1 << 20), b""))
        self.first_line = parsed(first)
        self.start = len(first)

    @property
    def waiting(self) -> int:
        """How many lines could not be written yet."""
        return len(self._waiting)

    def append(self, line: Line) -> None:
        """Add one line. A full disk is a warning, never an error."""
        text = json.dumps(line, separators=(",", ":"), ensure_ascii=False)
        self._waiting.append(text.encode("utf-8", errors="replace") + b"\n")
        self.write_waiting()

    def require_kept(self) -> None:
        """Make sure that no line waits.

        Raises:
            OSError: One does, and this is why, with the name of the file.
        """
        try:
            self._write_first_ones()
        except OSError as error:
            raise OSError(error.errno, error.strerror, str(self._path)) from error

    def write_waiting(self) -> None:
        """Write the lines that wait, oldest first."""
        try:
            self._write_first_ones()
        except OSError as error:
            if len(self._waiting) == 1:
                _log.warning("tracking journal cannot be written (%s); kept in memory", error)

    def read(self, position: int, max_bytes: int) -> tuple[list[Line], int]:
        """Return the whole lines from byte `position` on, and the position behind them.

        Args:
            position: Where a line begins.
            max_bytes: Stop at about this many bytes; one line is returned however long it is.
        """
        wanted = min(self.size - position, max_bytes)
        data = os.pread(self._file, wanted, position)
        while data and b"\n" not in data:
            wanted *= 2
            data = os.pread(self._file, min(self.size - position, wanted), position)
        whole = data[: data.rfind(b"\n") + 1]
        return [parsed(text) for text in whole.split(b"\n")[:-1]], position + len(whole)

    def sync(self) -> None:
        """Make what was appended so far survive the death of the machine."""
        os.fsync(self._file)

    def close(self) -> None:
        """Close the file."""
        os.close(self._file)

    def _write_first_ones(self) -> None:
        while self._waiting:
            self._write(self._waiting[0])
            self.lines += 1
            del self._waiting[0]

    def _write(self, data: bytes) -> None:
        written = 0
        try:
            while written < len(data):
                written += os.write(self._file, data[written:])
        except OSError:
            os.ftruncate(self._file, self.size)  # half a line must not stay in front of the next
            raise
        self.size += len(data)

    def _drop_cut_off_line(self) -> int:
        size = os.fstat(self._file).st_size
        end = size
        while end:
            start = max(0, end - 65536)
            newline = os.pread(self._file, end - start, start).rfind(b"\n")
            if newline >= 0:
                end = start + newline + 1
                break
            end = start
        if end < size:
            os.ftruncate(self._file, end)
        return end


def parsed(text: bytes | str) -> Line:
    """Return a line; one the machine's death damaged is named as such, and stops none behind it."""
    try:
        line = json.loads(text)
    except ValueError:
        line = None
    return line if isinstance(line, dict) else {"op": "damaged", "text": repr(text[:200])}
