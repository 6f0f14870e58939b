"""Numbers and times as the page shows them."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Final

from mlfd_tune.core.statistics import Interval
from mlfd_tune.report.page.parts import Cell

__all__ = ["NOTHING", "difference_cell", "interval_cell", "number_cell", "time_text"]

NOTHING: Final = Cell("–")
"""Of a value that there is not; sorted to the end."""


def difference_cell(interval: Interval | None) -> Cell:
    """Return a cell such as ``+1.20`` above ``[0.31, 2.09]``."""
    if interval is None:
        return NOTHING
    return Cell(f"{interval.mean:+.2f}", interval.mean, _ends(interval))


def interval_cell(
    interval: Interval | None, low: float | None = None, high: float | None = None
) -> Cell:
    """Return a cell such as ``92.31`` above ``[91.02, 93.60]``.

    Args:
        interval: None for a value that there is not.
        low: With `high`, the ends of the scale on which the interval is drawn, too.
        high: Likewise.
    """
    if interval is None:
        return NOTHING
    ends = (interval.low, interval.mean, interval.high)
    whisker = None
    if low is not None and high is not None and high > low:
        shares = [((interval.mean if end is None else end) - low) / (high - low) for end in ends]
        first, middle, last = (min(max(share, 0.0), 1.0) for share in shares)
        whisker = (first, middle, last)
    return Cell(f"{interval.mean:.2f}", interval.mean, _ends(interval), whisker)


def number_cell(value: float | None, form: str = ".2f") -> Cell:
    """Return a cell with a number."""
    return NOTHING if value is None else Cell(f"{value:{form}}", value)


def time_text(seconds: float) -> str:
    """Return a point of time, given as Unix time, in UTC: ``2026-01-02 03:04 UTC``."""
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%d %H:%M UTC")


def _ends(interval: Interval) -> str:
    if interval.low is None or interval.high is None:
        return ""
    return f"[{interval.low:.2f}, {interval.high:.2f}]"
