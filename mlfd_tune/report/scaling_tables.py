"""What more teachers gain and cost, as tables and in words."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

from mlfd_tune.core.statistics import Interval
from mlfd_tune.report.scaling import CostKind, PowerLaw, ScalingRow, power_laws

__all__ = ["GAINS", "cost_table", "gain_cells", "law_text", "verdict"]

GAINS: Final = ("teachers", "dataset", "gain", "over own teacher", "metric")
"""The columns of `gain_cells`."""

_MOST_NAMED = 8
_UNITS: Final[Mapping[CostKind, tuple[float, str]]] = {
    "seconds": (1.0, ".1f"),
    "bytes": (1e6, ".2f"),
}


def gain_cells(row: ScalingRow) -> tuple[object, ...]:
    """Return a row of the table of gains, in percentage points with 95 % intervals."""
    gains = (row.gain, row.gain_over_own_teacher)
    return (row.teachers, row.dataset, *map(_signed, gains), row.gain_metric)


def cost_table(
    rows: Sequence[ScalingRow], of: CostKind
) -> tuple[tuple[str, ...], list[tuple[str, ...]]]:
    """Return columns and lines of a table of costs: stages by numbers of teachers.

    Args:
        rows: From `scaling_rows`.
        of: Seconds, or bytes, shown as megabytes.
    """
    laws = power_laws(rows, of)
    unit, form = _UNITS[of]
    by_lineup = {row.lineup: row.costs(of) for row in rows}
    stages = list(dict.fromkeys(stage for costs in by_lineup.values() for stage in costs))
    stages.sort(key=lambda stage: stage == "total")
    lines = []
    for stage in stages:
        cells = [format(costs.get(stage, 0.0) / unit, form) for costs in by_lineup.values()]
        lines.append((stage, *cells, law_text(laws.get(stage))))
    return ("stage", *(f"n={len(lineup)}" for lineup in by_lineup), "grows as"), lines


def law_text(law: PowerLaw | None) -> str:
    """Return ``n^b [low, high]``, or nothing where there is no law."""
    if law is None:
        return ""
    exponent = law.exponent
    if exponent.low is None or exponent.high is None:
        return f"n^{exponent.mean:.2f}"
    return f"n^{exponent.mean:.2f} [{exponent.low:.2f}, {exponent.high:.2f}]"


def verdict(rows: Sequence[ScalingRow]) -> str:
    """Say plainly where no gain is shown, where there is a loss, and what is not known."""
    known = [(row, row.gain) for row in rows if row.gain is not None]
    if not known:
        return "No gain can be told: there are no runs of method none on the same seeds."
    parts = []
    if any(gain.low is None for _, gain in known):
        parts.append("There is one seed only where no interval is shown, so nothing is decided.")
    sure = [(row, gain) for row, gain in known if gain.low is not None]
    undecided = [row for row, _ in sure if row.undecided]
    if undecided:
        parts.append(
            f"{len(undecided)} of {len(sure)} gains have a 95 % interval that contains zero: no "
            f"difference to the baseline is shown with {_listed(undecided)}."
        )
    elif sure:
        parts.append("No gain's 95 % interval contains zero.")
    worse = [row for row, gain in sure if gain.high is not None and gain.high < 0]
    if worse:
        parts.append(f"Worse than the baseline: with {_listed(worse)}.")
    missing = max(row.missing for row in rows)
    if missing:
        parts.append(f"The store lacks up to {missing} artifacts, so costs are too low.")
    return " ".join(parts)


def _listed(rows: Sequence[ScalingRow]) -> str:
    by_number: dict[int, list[str]] = {}
    for row in rows:
        by_number.setdefault(row.teachers, []).append(row.dataset)
    told = []
    for number, datasets in by_number.items():
        more = len(datasets) - _MOST_NAMED
        names = ", ".join(datasets[:_MOST_NAMED]) + (f" and {more} more" if more > 0 else "")
        told.append(f"{number} teachers ({names})")
    return ", ".join(told)


def _signed(interval: Interval | None) -> str:
    if interval is None:
        return ""
    if interval.low is None:
        return f"{interval.mean:+.2f}"
    return f"{interval.mean:+.2f} [{interval.low:+.2f}, {interval.high:+.2f}]"
