"""Differences of two runs or configurations, as tables for the terminal."""

from __future__ import annotations

from collections.abc import Mapping

from rich.box import SIMPLE_HEAD
from rich.table import Table
from rich.text import Text

from mlfd_tune.tracking.differences import Differences, MetricDifference, Pair

__all__ = ["difference_tables"]

_NOTE = (
    "Metrics are last values; of several seeds their mean. B - A is over the seeds both have, ± "
    "half the 95 % t interval; without a number of seeds it is not paired."
)


def difference_tables(found: Differences) -> list[Table | Text]:
    """Return both sides' names, then a table for each kind of difference there is."""
    tables: list[Table | Text] = [
        Text(f"A: {found.a.name}, {_seeds(len(found.a.run_ids))}", style="bold"),
        Text(f"B: {found.b.name}, {_seeds(len(found.b.run_ids))}", style="bold"),
        *(Text(note) for note in found.notes),
    ]
    # What is logged as a param stands in the configuration, too, which says it in full.
    settings = found.config or found.params
    for title, pairs in (
        ("settings", settings),
        ("images", found.data),
        ("software and hardware", found.environment),
    ):
        if pairs:
            tables.append(_pairs(title, pairs))
        else:
            tables.append(Text(f"{title}: no difference"))
    return [*tables, _metrics(found), Text(_NOTE, style="dim")]


def _seeds(count: int) -> str:
    return "1 seed" if count == 1 else f"{count} seeds"


def _table(title: str) -> Table:
    return Table(
        title=title,
        title_justify="left",
        title_style="bold",
        box=SIMPLE_HEAD,
        padding=0,
        pad_edge=False,
    )


def _pairs(title: str, pairs: Mapping[str, Pair]) -> Table:
    table = _table(title)
    for name in ("name", "A", "B"):
        table.add_column(name, overflow="fold")
    for name, values in pairs.items():
        table.add_row(Text(name), *(Text("(none)" if one is None else one) for one in values))
    return table


def _metrics(found: Differences) -> Table:
    table = _table("metrics")
    table.add_column("name", overflow="fold")
    for name in ("A", "B", "B - A", "seeds"):
        table.add_column(name, justify="right", no_wrap=True)
    for name, one in found.metrics.items():
        seeds = str(one.paired.n) if one.paired else ""
        cells = (_number(one.a), _number(one.b), _difference(one), seeds)
        table.add_row(Text(name), *map(Text, cells))
    return table


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.4g}"


def _difference(one: MetricDifference) -> str:
    if one.difference is None:
        return ""
    if one.paired is None or one.paired.high is None:
        return f"{one.difference:+.3g}"
    return f"{one.difference:+.3g} ± {one.paired.high - one.paired.mean:.2g}"
