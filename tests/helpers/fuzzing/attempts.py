"""One hostile input at a time: a result or a `UserError`, soon, and no file changed."""

from __future__ import annotations

import faulthandler
import os
import signal
import stat
import time
import unicodedata
import zlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st

from mlfd_tune.core.errors import UserError

__all__ = ["Count", "Fuzz", "Hang", "attempt", "cases_table"]

Case = TypeVar("Case")

SECONDS = 20.0  # for one case; the slowest that is no hang takes about two on a busy machine
LONGEST = 10_000  # characters of a line: two paths of the greatest length, and what is said of them


class Hang(BaseException):  # no Exception, since those are caught and told as something else
    """A case took longer than it may."""


def attempt(
    call: Callable[[], object], watched: Path | None = None, seconds: float = SECONDS
) -> UserError | None:
    """Make a call that hostile input may fail with `UserError` and with nothing else.

    Args:
        call: The call.
        watched: A folder in which no file may be made, changed or removed.
        seconds: How long it may take.

    Returns:
        The error, None where there was none.
    """
    before = _listing(watched)
    told: UserError | None = None
    with _deadline(seconds):
        try:
            call()
        except UserError as error:
            told = error
    if told is not None:
        _check_told(told)
    after = _listing(watched)
    assert after == before, f"files changed: {sorted(set(before.items()) ^ set(after.items()))[:4]}"
    return told


@dataclass
class Count:
    """How much was tried of one kind of input.

    Attributes:
        target: What reads the input.
        cases: How many inputs.
        seconds: How long they took, making them included.
    """

    target: str
    cases: int = 0
    seconds: float = 0.0


class Fuzz:
    """Runs a target on inputs that a strategy makes; the same ones every time.

    Args:
        whole: Try the full number of cases.
        record: Takes what was tried, for the table.
    """

    def __init__(self, whole: bool, record: Callable[[Count], None]) -> None:
        self.whole = whole
        self.record = record

    def __call__(
        self,
        target: str,
        cases: st.SearchStrategy[Case],
        run: Callable[[Case], object],
        *,
        whole: int,
        reduced: int,
    ) -> None:
        """Try cases, and fail with the smallest one that is not handled.

        Args:
            target: The target's name in the table.
            cases: Makes the inputs.
            run: Tries one, with `attempt`.
            whole: How many in the whole matrix.
            reduced: How many else.
        """
        count = Count(target)
        begun = time.monotonic()

        # Shrinking a failure may write files again; explaining one would repeat it many times.
        @seed(zlib.crc32(target.encode()))
        @settings(
            max_examples=whole if self.whole else reduced,
            database=None,
            deadline=None,
            print_blob=True,
            suppress_health_check=list(HealthCheck),
            phases=[Phase.generate, Phase.shrink],
        )
        @given(cases)
        def one(case: Case) -> None:
            count.cases += 1
            run(case)

        try:
            one()
        finally:
            count.seconds = time.monotonic() - begun
            self.record(count)


def cases_table(counts: Sequence[Count]) -> Iterator[str]:
    """Yield the lines of the table of targets with their cases, and how many a second."""
    width = max([len(count.target) for count in counts] + [6])
    yield f"{'target'.ljust(width)}  {'cases':>8}  {'per second':>10}"
    for count in sorted(counts, key=lambda count: count.target):
        speed = count.cases / max(count.seconds, 1e-9)
        yield f"{count.target.ljust(width)}  {count.cases:8,}  {speed:10,.0f}"
    total = sum(count.cases for count in counts)
    yield f"{len(counts)} targets, {total:,} cases"


def _check_told(error: UserError) -> None:
    """Every problem is one line that a terminal shows as it is."""
    assert error.problems, "an error without a word"
    for line in error.problems:
        assert line.strip(), "an empty line"
        assert len(line) <= LONGEST, f"a line of {len(line)} characters: {line[:200]!r}"
        odd = {char for char in line if unicodedata.category(char) in {"Cc", "Cs", "Zl", "Zp"}}
        assert not odd, f"control characters in a line: {line[:300]!r}"


def _listing(folder: Path | None) -> dict[str, tuple[Any, ...]]:
    """Return what lies in a folder: type, size, inode and time of change of everything."""
    if folder is None:
        return {}
    found: dict[str, tuple[Any, ...]] = {}
    for place, folders, files in os.walk(os.fsencode(folder)):
        for name in [*folders, *files]:
            path = os.path.join(place, name)  # noqa: PTH118 - names may be no text
            status = os.lstat(path)
            kind = stat.S_IFMT(status.st_mode)
            found[repr(path)] = (kind, status.st_size, status.st_ino, status.st_mtime_ns)
    return found


@contextmanager
def _deadline(seconds: float) -> Iterator[None]:
    def stop(_number: int, _frame: object) -> None:
        raise Hang(f"took longer than {seconds:g} s")

    before = signal.signal(signal.SIGALRM, stop)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    faulthandler.dump_traceback_later(3 * seconds, exit=True)  # where no handler is ever run
    try:
        yield
    finally:
        faulthandler.cancel_dump_traceback_later()
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
