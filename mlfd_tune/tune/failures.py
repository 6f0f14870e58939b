"""What has failed, why and how often, and whether it is worth another try.

A trial that fails is tried again from its last checkpoint, as often as `resources.max_failures`
says. The count stands in a file beside the run, so that a new driver goes on counting. It is kept
by the student's key, too: a configuration that has failed for good is not tried again when the
sampler proposes it once more, or another arm trains the same student.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final, Literal

__all__ = ["FAILURES", "Failure", "FailureKind", "Failures"]

FAILURES: Final = "failures.jsonl"
"""The file in a run's folder."""

FailureKind = Literal["certain", "raised", "died"]
"""How something failed.

``certain``: the same settings fail in the same way again: a loss that is not finite, bad input.
``raised``: by another exception. ``died``: its worker was killed, hung or crashed.
"""

_ENOUGH = 2


@dataclass(frozen=True)
class Failure:
    """One failure.

    Attributes:
        work: Id of the trial, or key of the stage.
        key: Key of the student or the stage; None where settings do not fit together.
        kind: How it failed.
        reason: Why, in one line.
        after: Epochs that were over before it.
    """

    work: str
    key: str | None
    kind: FailureKind
    reason: str
    after: int = 0


class Failures:
    """Keeps account of failures. Used by one driver, in one thread.

    Args:
        file: Where those of trials are kept, one a line. Those of shared stages are forgotten with
            the driver: whoever resumes a run has mended their cause.
        retries: How often work that failed is tried again.
    """

    def __init__(self, file: Path, retries: int) -> None:
        self._file = file
        self._retries = retries
        self._found = list(_read(file))

    def add(self, failure: Failure, *, keep: bool = True) -> None:
        """Note a failure, in the file if it is to be kept."""
        self._found.append(failure)
        if keep:
            with self._file.open("a", encoding="utf-8") as file:
                # A driver that was killed may have left half a line.
                file.write(f"\n{json.dumps(asdict(failure))}\n")

    def tries_left(self, work: str) -> int:
        """Return how often work may fail and yet be tried again."""
        return max(self._retries - self._times(work), 0)

    def may_try_again(self, work: str, key: str | None) -> bool:
        """Tell whether work whose latest failure was noted is tried again."""
        return self._times(work) <= self._retries and self.given_up(key) is None

    def given_up(self, key: str | None) -> str | None:
        """Return why a student or stage is not tried any more, or None where it may be."""
        found = [one for one in self._found if key is not None and one.key == key]
        if not found:
            return None
        last = found[-1]
        alike = sum(_way(one) == _way(last) for one in found)
        times = len(found)
        if not (
            last.kind == "certain"
            or (last.kind == "raised" and alike >= _ENOUGH)
            or times >= max(_ENOUGH, self._retries + 1)
        ):
            return None
        before = {1: "before", 2: "twice before"}.get(times, f"{times} times before")
        return f"not tried again: failed {before} ({last.reason})"

    def is_certain(self, key: str) -> bool:
        """Tell whether a stage fails whatever is done about the machine it runs on."""
        return any(one.key == key and one.kind == "certain" for one in self._found)

    def _times(self, work: str) -> int:
        return sum(one.work == work for one in self._found)


def _way(failure: Failure) -> tuple[str, str, int]:
    return failure.kind, failure.reason, failure.after


def _read(file: Path) -> Iterator[Failure]:
    try:
        lines = file.read_text(encoding="utf-8").splitlines()
    except FileNotFoundError:
        return
    for line in lines:
        try:
            record = json.loads(line)
        except ValueError:
            continue  # empty, or cut short when a driver was killed
        yield Failure(**record)
