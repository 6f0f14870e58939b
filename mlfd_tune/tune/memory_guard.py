"""A limit on the memory of one worker, kept from inside the worker."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable

import psutil

from mlfd_tune.core.sizes import size_text

__all__ = ["MemoryGuard", "own_memory"]

_LOOK_EVERY_S = 0.2
_KEPT = 0.5


def own_memory() -> int:
    """Return the bytes of memory that this process has for itself.

    Pages of files that are mapped, such as packed images, are not counted: the system takes them
    back when it needs them. Where they cannot be told apart all is counted.
    """
    memory = psutil.Process().memory_info()
    return int(memory.rss - getattr(memory, "shared", 0))


class MemoryGuard:
    """Ends the process when it takes more memory than it may.

    A thread looks several times a second. It ends the process with SIGKILL, because whatever asks
    for memory without end may not heed anything less.

    Args:
        limit: In bytes.
    """

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self._tell: Callable[[str], None] = print
        threading.Thread(target=self._watch, name="memory-guard", daemon=True).start()

    def begin(self, tell: Callable[[str], None]) -> None:
        """Begin a piece of work.

        Args:
            tell: Called with the reason before the process is ended.
        """
        self._tell = tell

    @property
    def too_much_is_left(self) -> bool:
        """Whether so much is taken, now that work is over, that a new process should go on."""
        return own_memory() > _KEPT * self.limit

    def _watch(self) -> None:
        stop = threading.Event()
        while not stop.wait(_LOOK_EVERY_S):
            taken = own_memory()
            if taken > self.limit:
                self._tell(
                    f"the worker took {size_text(taken)} of memory, more than "
                    f"resources.max_worker_memory allows ({size_text(self.limit)})"
                )
                os.kill(os.getpid(), signal.SIGKILL)
