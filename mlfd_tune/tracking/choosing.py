"""Choosing among a leaderboard's rows: conditions, other orders, settings as columns, a limit."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Final

from mlfd_tune.core.errors import UserError, nearest
from mlfd_tune.core.statistics import Interval
from mlfd_tune.tracking.expressions import MISSING, Kind, Missing, Value, parse_filter
from mlfd_tune.tracking.leaderboard import Row
from mlfd_tune.tracking.results import TEST, VAL

__all__ = [
    "COLUMNS",
    "filtered",
    "first_of_each",
    "names_in",
    "ordered",
    "sort_keys",
    "with_settings",
]


def _mean(interval: Interval | None) -> Value:
    return MISSING if interval is None else interval.mean


def _text(value: str | None) -> Value:
    return MISSING if value is None else value


_CELLS: Final[Mapping[str, tuple[Kind, Callable[[Row], Value]]]] = {
    "dataset": ("text", lambda row: row.dataset),
    "method": ("text", lambda row: row.method),
    "status": ("text", lambda row: row.status),
    "n": ("number", lambda row: float(row.n_seeds)),
    VAL: ("number", lambda row: _mean(row.val)),
    TEST: ("number", lambda row: _mean(row.test)),
    "gain": ("number", lambda row: _mean(row.gain)),
    "gain_over_own_teacher": ("number", lambda row: _mean(row.gain_over_own_teacher)),
    "experiment": ("text", lambda row: row.experiment),
    "config": ("text", lambda row: row.config),
    "arm": ("text", lambda row: _text(row.arm)),
}

COLUMNS: Final[Mapping[str, Kind]] = {name: kind for name, (kind, _) in _CELLS.items()}
"""What filters and orders go by, beside settings by their dotted names."""


def filtered(rows: Sequence[Row], text: str) -> list[Row]:
    """Return the rows that match a condition, in their order.

    Raises:
        UserError: The condition cannot be read, or has a name that no row has.
    """
    if not rows:
        return []
    wanted = parse_filter(text, COLUMNS, _settings(rows))
    return [row for row in rows if wanted.matches(partial(_value, row))]


def sort_keys(text: str) -> list[tuple[str, bool]]:
    """Return the names in ``-test/acc1,dataset`` and whether each goes from high to low."""
    keys = [
        (part.strip().removeprefix("-").strip(), part.strip()[:1] == "-")
        for part in text.split(",")
    ]
    return [(name, falling) for name, falling in keys if name]


def names_in(text: str) -> list[str]:
    """Return the names in a list with commas."""
    return [name for name, _ in sort_keys(text)]


def ordered(rows: Sequence[Row], keys: Sequence[tuple[str, bool]]) -> list[Row]:
    """Return the rows by some columns and settings; those that lack one come last.

    Args:
        rows: In the order that decides among equals.
        keys: Names, the most important first, and whether each goes from high to low.

    Raises:
        UserError: For a name that no row has.
    """
    _require("--sort", [name for name, _ in keys], rows, [*COLUMNS])
    found = list(rows)
    for name, falling in reversed(keys):
        there = [row for row in found if not isinstance(_value(row, name), Missing)]
        lacking = [row for row in found if isinstance(_value(row, name), Missing)]
        there.sort(key=lambda row: _rank(_value(row, name)), reverse=falling)
        found = [*there, *lacking]
    return found


def with_settings(rows: Sequence[Row], names: Sequence[str]) -> list[Row]:
    """Return the rows with these settings among their `params`, also where they do not differ.

    Raises:
        UserError: For a name that no row has.
    """
    if not names:
        return list(rows)  # ten thousand copies take their time
    _require("--columns", names, rows, [])
    return [
        replace(
            row,
            params={
                **row.params,
                **{name: row.settings[name] for name in names if name in row.settings},
            },
        )
        for row in rows
    ]


def first_of_each(rows: Sequence[Row], limit: int) -> list[Row]:
    """Return at most `limit` rows of each experiment, in their order."""
    counts: dict[str, int] = {}
    found = []
    for row in rows:
        counts[row.experiment] = counts.get(row.experiment, 0) + 1
        if counts[row.experiment] <= limit:
            found.append(row)
    return found


def _settings(rows: Sequence[Row]) -> set[str]:
    return {name for row in rows for name in row.settings}


def _value(row: Row, name: str) -> Value:
    if name in _CELLS:
        return _CELLS[name][1](row)
    return _parsed(row.settings[name]) if name in row.settings else MISSING


def _parsed(text: str) -> Value:
    """Return what a setting was before MLflow made text of it."""
    if text in ("True", "False", "None"):
        return {"True": True, "False": False}.get(text)
    try:
        number = float(text)
    except ValueError:
        return text
    return text if math.isnan(number) else number


def _rank(value: Value) -> tuple[int, float, str]:
    """Return what orders values of any kind: None and truth values, then numbers, then text."""
    if isinstance(value, str):
        return 2, 0.0, value
    if isinstance(value, bool) or not isinstance(value, float):
        return 0, float(bool(value)), ""
    return 1, value, ""


def _require(option: str, names: Sequence[str], rows: Sequence[Row], columns: list[str]) -> None:
    if not rows or not names:
        return
    settings = _settings(rows)
    for name in names:
        if name not in columns and name not in settings:
            match = nearest(name, [*columns, *settings])
            hint = f"; did you mean {match!r}?" if match else ""
            kinds = f"{', '.join(columns)}, or a setting" if columns else "a setting"
            raise UserError(
                f"{option}: no row has {name!r} (allowed: {kinds} by its dotted name{hint})"
            )
