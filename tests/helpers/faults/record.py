"""The table of faults: which invariants were looked at after each, and which of them held.

A test says what it breaks and checks one invariant after the other::

    def test_a_killed_driver(held: Held) -> None:
        held.fault = "driver killed while a teacher is trained"
        ...
        with held("artifacts"):
            check_artifacts(store)

What is checked in the block is a plain assertion. The table is printed at the end of the tests.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager

__all__ = ["INVARIANTS", "Held", "table"]

INVARIANTS = {
    "states": "every planned trial has one final state; Tune, Optuna and MLflow agree",
    "artifacts": "no artifact is half-written, and damage is found and mended",
    "metrics": "no epoch is missing from a run's metrics, and none stands there twice",
    "best": "the sweep, resumed where it had to be, ends with the best of an undisturbed one",
    "leaks": "no process, lock, temporary folder or shared memory is left behind",
    "told": "the user is told in a line what happened and what to do",
    "goes on": "the work that the fault did not hit went on",
}


class Held:
    """What one test found out.

    Attributes:
        fault: What was broken, in a few words; the table's row.
    """

    def __init__(self, record: Callable[[str, object], None]) -> None:
        self.fault = ""
        self._record = record

    @contextmanager
    def __call__(self, *invariants: str) -> Iterator[None]:
        """Check one or more invariants in the block."""
        assert self.fault, "name the fault first"
        unknown = set(invariants) - INVARIANTS.keys()
        assert not unknown, f"no such invariants: {unknown}"
        held = False
        try:
            yield
            held = True
        finally:
            for invariant in invariants:
                self._record("fault", (self.fault, invariant, held))


def table(records: Sequence[tuple[str, str, bool]]) -> Iterator[str]:
    """Yield the lines of the table fault by invariant: held, BROKEN, or - where not looked at."""
    rows: dict[str, dict[str, bool]] = {}
    for fault, invariant, held in records:
        row = rows.setdefault(fault, {})
        row[invariant] = row.get(invariant, True) and held
    width = max([len(fault) for fault in rows] + [5])
    yield "  ".join(["fault".ljust(width), *INVARIANTS])
    for fault, row in sorted(rows.items()):
        cells = (_cell(row, name).ljust(len(name)) for name in INVARIANTS)
        yield "  ".join([fault.ljust(width), *cells]).rstrip()
    checked = [held for row in rows.values() for held in row.values()]
    yield f"{len(rows)} faults, {sum(checked)} of {len(checked)} invariants held"


def _cell(row: Mapping[str, bool], invariant: str) -> str:
    if invariant not in row:
        return "-"
    return "held" if row[invariant] else "BROKEN"
