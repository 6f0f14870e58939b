"""Why a worker's process is gone, in words that help."""

from __future__ import annotations

import re

from ray.exceptions import OutOfMemoryError

from mlfd_tune.tune.signs import Signs

__all__ = ["Deaths"]

_NODE_MEMORY = re.compile(r"was (\S+) used / (\S+) limit")
_PROBABLY = (
    "the worker's process died: it was killed, perhaps by the system for want of memory, or crashed"
)


class Deaths:
    """Knows of the workers of a run why they died.

    Args:
        signs: Where workers leave their last words.
    """

    def __init__(self, signs: Signs) -> None:
        self.signs = signs
        self._killed: dict[str, str] = {}

    def killed(self, work: str, reason: str) -> None:
        """Note that the worker of a piece of work is being killed, and why."""
        self._killed[work] = reason

    def reason(self, work: str | None, error: Exception) -> str:
        """Return why the worker of a piece of work died, in one line but for what Ray tells best.

        Args:
            work: Ray's id of what it did.
            error: What Ray says.
        """
        if work is not None:
            known = self._killed.pop(work, "") or self.signs.words(work)
            self.signs.remove(work)  # it may begin anew
            if known:
                return known
        text = str(error)
        if isinstance(error, OutOfMemoryError):
            memory = _NODE_MEMORY.search(text)
            state = f" ({memory[1]} of {memory[2]} in use)" if memory else ""
            return f"out of memory: the machine ran short{state}, and Ray killed this worker"
        if "its worker process has died" in text:
            return _PROBABLY
        if "its node has died" in text or "node died" in text:
            return "the machine that the worker was on is gone"
        return text
