"""Which of the running work shows no progress."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from statistics import median

__all__ = ["Silent", "Watchdog"]

# A driver that was itself held up (stopped, suspended, a machine short of memory) has not seen
# what came meanwhile: no look counts for more seconds than this, however late it comes.
_LONGEST_LOOK_S = 2.0
_UNUSUAL = 20.0
_UNUSUAL_FROM_S = 60.0
_MEASURED = 5


@dataclass(frozen=True)
class Silent:
    """Work that shows no progress.

    Attributes:
        work: Ray's id of it.
        seconds: For how long.
        too_long: Whether that is over the limit; else it is only much longer than usual.
    """

    work: str
    seconds: float
    too_long: bool


class Watchdog:
    """Measures how long work has shown no progress, by its own clock.

    Args:
        timeout: The limit in seconds, or None for none.
        clock: Tells the time in seconds.
    """

    def __init__(self, timeout: float | None, clock: Callable[[], float] = time.monotonic) -> None:
        self.timeout = timeout
        self._clock = clock
        self._looked = clock()
        self._marks: dict[str, object] = {}
        self._silent: dict[str, float] = {}
        self._told: set[str] = set()
        self._usual: deque[float] = deque(maxlen=100)

    def look(self, marks: Mapping[str, object]) -> list[Silent]:
        """Return what has been silent for too long, and what has been for unusually long.

        Each is returned once; one that goes on to be silent, after another such time.

        Args:
            marks: Of all work that runs, something that changes with its progress.
        """
        now = self._clock()
        passed, self._looked = min(now - self._looked, _LONGEST_LOOK_S), now
        for work in self._marks.keys() - marks.keys():
            self._forget(work)
        found = []
        for work, mark in marks.items():
            if self._marks.get(work) != mark:
                self._forget(work)
                self._marks[work] = mark
                self._silent[work] = 0.0
                continue
            self._silent[work] += passed
            silent = self._judge(work, self._silent[work])
            found += [silent] if silent else []
        return found

    def took(self, seconds: float) -> None:
        """Note how long an epoch took, so that what is unusual is known."""
        self._usual.append(seconds)

    def _judge(self, work: str, seconds: float) -> Silent | None:
        if self.timeout is not None and seconds > self.timeout:
            self._silent[work] = 0.0
            return Silent(work, seconds, too_long=True)
        usual = median(self._usual) if len(self._usual) >= _MEASURED else None
        if (
            usual is not None
            and seconds > max(_UNUSUAL * usual, _UNUSUAL_FROM_S)
            and work not in self._told
        ):
            self._told.add(work)
            return Silent(work, seconds, too_long=False)
        return None

    def _forget(self, work: str) -> None:
        self._marks.pop(work, None)
        self._silent.pop(work, None)
        self._told.discard(work)
