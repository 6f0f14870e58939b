"""Signs of life: a small file by which a worker reaches the driver beside its results.

The driver sees by the time of the file that work goes on which has no result to report, such as
waiting for another process, and finds in it what a worker wrote before it ended itself.
"""

from __future__ import annotations

import contextlib
import time
from pathlib import Path

__all__ = ["Signs"]

_EVERY_S = 1.0


class Signs:
    """The signs of all work of a run, one file each, named by Ray's id of the work.

    Losing them does no harm: on a machine that does not share the folder there are none.

    Args:
        folder: Where they are.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._shown = 0.0

    def show(self, work: str) -> None:
        """Show that work goes on; at most once a second it touches the disk."""
        now = time.monotonic()
        if now - self._shown >= _EVERY_S:
            self._shown = now
            self._write(work, None)

    def last_words(self, work: str, text: str) -> None:
        """Leave the reason why the worker ends here and now."""
        self._write(work, text)

    def seen(self, work: str) -> int:
        """Return something that changes with every sign of the work."""
        try:
            return (self._folder / work).stat().st_mtime_ns
        except OSError:
            return 0

    def words(self, work: str) -> str:
        """Return the last words; empty where there are none."""
        try:
            return (self._folder / work).read_text(encoding="utf-8").strip()
        except OSError:
            return ""

    def remove(self, work: str) -> None:
        """Remove the file of work that is over, or that begins anew."""
        with contextlib.suppress(OSError):
            (self._folder / work).unlink(missing_ok=True)

    def _write(self, work: str, text: str | None) -> None:
        with contextlib.suppress(OSError):
            self._folder.mkdir(parents=True, exist_ok=True)
            file = self._folder / work
            file.touch() if text is None else file.write_text(text, encoding="utf-8")
