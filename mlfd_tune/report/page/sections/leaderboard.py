"""The leaderboard with intervals."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Final

from mlfd_tune.core.statistics import Interval
from mlfd_tune.report.page.formats import NOTHING, difference_cell, interval_cell
from mlfd_tune.report.page.material import Material
from mlfd_tune.report.page.parts import Absent, Cell, Section, Table
from mlfd_tune.tracking.leaderboard import Row

__all__ = ["leaderboard_section"]

_MOST_PROVISIONAL: Final = 25
"""Of each dataset; the search's other trials are in its figures."""

_COLUMNS: Final = (
    "dataset",
    "configuration",
    "status",
    "seeds",
    "validation accuracy, %",
    "test accuracy, %",
    "over the baseline",
    "over the own teacher",
)


def leaderboard_section(material: Material) -> Section:
    """Return the section."""
    experiment = material.parent.experiment
    command = material.experiment_command("leaderboard", experiment)
    if not material.rows:
        why = "No training of this run is finished; the leaderboard fills as they end."
        return Section("leaderboard", "Leaderboard", (Absent(why, material.again()),))
    rows, left_out = _shown(material.rows)
    scales = {
        name: (
            _range(row.val for row in rows if row.dataset == name),
            _range(row.test for row in rows if row.dataset == name),
        )
        for name in dict.fromkeys(row.dataset for row in rows)
    }
    cells = [_cells(row, *scales[row.dataset]) for row in rows]
    # A search that was not confirmed has no test accuracy, some designs have no baseline.
    kept = [column for column in range(len(_COLUMNS)) if any(r[column] != NOTHING for r in cells)]
    note = (
        "Ordered by validation accuracy, never by test accuracy. Intervals: 95 %, Student's t over "
        "seeds; the bars of one dataset in a column share a scale. Differences in points, paired "
        "by seed. Provisional rows are single trials of the search: validation only, and the best "
        "of many, so too good on average."
    )
    if left_out:
        note += f" {left_out} more provisional rows are left out."
    table = Table(
        "table-leaderboard",
        f"{len(rows)} configurations, seeds folded",
        [_COLUMNS[column] for column in kept],
        [[row[column] for column in kept] for row in cells],
        frozenset(range(3, len(kept))),
        note,
    )
    return Section("leaderboard", "Leaderboard", (table,), note=f"In a terminal: {command}")


def _shown(rows: Sequence[Row]) -> tuple[list[Row], int]:
    counts: dict[str, int] = {}
    shown = []
    for row in rows:
        if row.status == "provisional":
            counts[row.dataset] = counts.get(row.dataset, 0) + 1
            if counts[row.dataset] > _MOST_PROVISIONAL:
                continue
        shown.append(row)
    return shown, len(rows) - len(shown)


def _cells(row: Row, val: tuple[float, float], test: tuple[float, float]) -> list[Cell]:
    return [
        Cell(row.dataset),
        Cell(row.arm or f"{row.method} {row.config[:7]}"),
        Cell(row.status, mark=row.status),
        Cell(str(row.n_seeds), row.n_seeds),
        interval_cell(row.val, *val),
        interval_cell(row.test, *test),
        difference_cell(row.gain),
        difference_cell(row.gain_over_own_teacher),
    ]


def _range(intervals: Iterable[Interval | None]) -> tuple[float, float]:
    known = [interval for interval in intervals if interval is not None]
    ends = [end for one in known for end in (one.mean, one.low, one.high) if end is not None]
    return (max(min(ends), 0.0), min(max(ends), 100.0)) if ends else (0.0, 0.0)
