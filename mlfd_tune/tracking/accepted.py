"""What a journal already holds, so that a replayed trial logs nothing twice."""

from __future__ import annotations

import logging
from collections.abc import Mapping

from mlfd_tune.tracking.journal import Journal, Line

__all__ = ["Accepted"]

_log = logging.getLogger(__name__)

_BYTES_AT_ONCE = 1 << 22


class Accepted:
    """Which metrics and params of which run are in the journal.

    Args:
        journal: Read once from its beginning; later lines are told by `note`.
    """

    def __init__(self, journal: Journal) -> None:
        self._last_step: dict[tuple[str, str], int] = {}
        self._params: dict[str, dict[str, str]] = {}
        self._with_reason: set[str] = set()
        position = journal.start
        while position < journal.size:
            lines, position = journal.read(position, _BYTES_AT_ONCE)
            for line in lines:
                self.note(line)

    def note(self, line: Line) -> None:
        """Take notice of a line that is in the journal."""
        op, run = line.get("op"), line.get("run", "")
        if op == "metrics":
            for name in line["values"]:
                self._last_step[run, name] = line["step"]
        elif op == "params":
            self._params.setdefault(run, {}).update(line["values"])
        elif op == "start":
            self._params.setdefault(run, {}).update(line["params"])
            self._with_reason.discard(run)
        elif op == "end" and line["tags"]:
            self._with_reason.add(run)

    def new_metrics(self, run: str, metrics: Mapping[str, float], step: int) -> dict[str, float]:
        """Return the metrics that the run does not have at this step or a later one."""
        last = self._last_step
        return {
            name: value for name, value in metrics.items() if last.get((run, name), step - 1) < step
        }

    def new_params(self, run: str, params: Mapping[str, str]) -> dict[str, str]:
        """Return the params that the run does not have; MLflow lets none change its value."""
        known = self._params.get(run, {})
        for name, value in params.items():
            if known.get(name, value) != value:
                _log.warning(
                    "run %s: param %s stays %s, not %s: it was logged before",
                    run,
                    name,
                    known[name],
                    value,
                )
        return {name: value for name, value in params.items() if name not in known}

    def has_reason(self, run: str) -> bool:
        """Tell whether the run ended with a reason and was not started again since."""
        return run in self._with_reason
