"""Starting all workers together, before there is work for them."""

from __future__ import annotations

import time

__all__ = ["WarmUp"]

_PATIENCE_S = 60.0


class WarmUp:
    """Keeps workers that have started occupied until all have.

    When a worker has nothing to do while another is still starting, Ray gives it the work that the
    other was to begin with, and ends the other. As long as work takes less time than starting, that
    goes on and on, and one worker does everything.

    Args:
        workers: How many to start.
    """

    def __init__(self, workers: int) -> None:
        self._to_ask = workers
        self._workers = workers
        self._asked: set[str] = set()
        self._started: set[str] = set()
        self._first: float | None = None

    def ask(self, ray_trial_id: str) -> bool:
        """Use a Ray trial to start a worker; return False when enough have been."""
        if not self._to_ask:
            return False
        self._to_ask -= 1
        self._asked.add(ray_trial_id)
        return True

    def owns(self, ray_trial_id: str) -> bool:
        """Tell whether a Ray trial is there to start a worker."""
        return ray_trial_id in self._asked

    def reported(self, ray_trial_id: str) -> bool:
        """Learn that a worker has started; return whether it is to wait for others."""
        self._started.add(ray_trial_id)
        self._first = self._first or time.monotonic()
        return not self.over

    def gave_up(self, ray_trial_id: str) -> None:
        """Learn that a worker does not start: what it was started for will tell why."""
        self.reported(ray_trial_id)

    @property
    def over(self) -> bool:
        """Whether work can begin: all have started, or some do not get the resources."""
        if len(self._started) >= self._workers:
            return True
        return self._first is not None and time.monotonic() - self._first > _PATIENCE_S
