"""Writes leaderboard rows as a table for the terminal, CSV, JSON or Markdown."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Collection, Iterable, Sequence
from itertools import groupby
from typing import Final

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table
from rich.text import Text

from mlfd_tune.core.errors import UserError, allowed_values
from mlfd_tune.core.printable import csv_cell, printable, printable_json
from mlfd_tune.core.statistics import Interval
from mlfd_tune.tracking.leaderboard import Row

__all__ = ["FORMATS", "render", "rich_tables"]

FORMATS: Final = ("table", "csv", "json", "md")

_COLUMNS = (
    "dataset",
    "method",
    "status",
    "n",
    "val",
    "test",
    "gain",
    "vs own",
    "config",
)
_FOLDED = "the same configurations of all experiments in one row"
_NUMERIC = frozenset({"n", "val", "test", "gain", "vs own"})
_NARROWEST = 6  # characters of a setting's column
_COLOURS = {"confirmed": "bold", "provisional": "dim", "failed": "red", "pruned": "yellow"}
_NOTE = (
    "Accuracy in %, mean over n seeds. gain: points over the same student without distillation "
    "(method none); vs own: over distillation from the dataset's own teacher alone; both paired by "
    "seed, ± half the 95 % t interval. A baseline or control bears the config it is compared with. "
    "provisional: one seed only, and for a trial of the search the best of many."
)


def render(
    rows: Sequence[Row], form: str, width: int = 100, *, settings: Sequence[str] = ()
) -> str:
    """Return rows as text.

    Args:
        rows: In the order they are shown.
        form: One of `FORMATS`.
        width: Columns of the terminal; for ``table`` only.
        settings: Settings with a column of their own; CSV and JSON have all that are in `params`.

    Raises:
        UserError: For an unknown format.
    """
    if form == "table":
        console = Console(width=width, file=io.StringIO(), record=True)
        for table in rich_tables(rows, settings=settings):
            console.print(table)
        return "".join(f"{line.rstrip()}\n" for line in console.export_text().splitlines())
    if form == "csv":
        return _csv(rows)
    if form == "json":
        return printable_json([row.as_json() for row in rows]) + "\n"
    if form == "md":
        return printable(_markdown(rows, settings), keep="\n")
    raise UserError(f"format: unknown {form!r} {allowed_values(form, FORMATS)}")


def rich_tables(
    rows: Iterable[Row],
    *,
    settings: Sequence[str] = (),
    limit: int = 0,
    folded: bool = False,
    changed: Collection[tuple[str, ...]] = (),
) -> list[Table | Text]:
    """Return one table per experiment, since numbers of two experiments do not compare, and a note.

    The status is written out, so that nothing depends on colour.

    Args:
        rows: In the order they are shown.
        settings: Settings with a column of their own.
        limit: Rows of each table; 0 for all. The number of those left out stands below.
        folded: Whether experiments were folded: one table then, with a column that names them.
        changed: The `run_ids` of rows that are marked with an asterisk.
    """
    by_experiment: dict[str, list[Row]] = {}
    for row in rows:
        by_experiment.setdefault(_FOLDED if folded else row.experiment, []).append(row)
    if not by_experiment:
        return [Text("No finished runs.")]
    tables: list[Table | Text] = []
    for title, its_rows in by_experiment.items():
        shown = its_rows[:limit] if limit else its_rows
        tables.append(_rich_table(title, shown, settings, folded, changed))
        if len(shown) < len(its_rows):
            more = f"… {len(its_rows) - len(shown):,} more: --limit 0 shows all"
            tables.append(Text(more))
    return [*tables, Text(_NOTE, style="dim")]


def _rich_table(
    title: str,
    rows: Sequence[Row],
    settings: Sequence[str],
    folded: bool,
    changed: Collection[tuple[str, ...]],
) -> Table:
    table = Table(
        title=title,
        title_justify="left",
        title_style="bold",
        box=SIMPLE_HEAD,
        padding=0,
        pad_edge=False,
    )
    has_reasons = any(row.reason for row in rows)
    more = [*(["experiments"] if folded else []), *(["reason"] if has_reasons else [])]
    heads = [*_COLUMNS, *_heads(settings), *more]
    for head, column in zip(heads, [*_COLUMNS, *settings, *more], strict=True):
        is_number = column in _NUMERIC
        table.add_column(
            head,
            justify="right" if is_number else "left",
            no_wrap=is_number or column in ("dataset", "method", "status"),
            min_width=_NARROWEST if column in settings else None,
            overflow="fold",
        )
    for dataset, group in groupby(rows, key=lambda row: row.dataset):
        for place, row in enumerate(group):
            cells = [dataset if place == 0 else "", *_cells(row, settings)[1:]]
            cells += [row.experiment] if folded else []
            cells += [row.reason or ""] if has_reasons else []
            if row.run_ids in changed:
                cells[1] = f"* {cells[1]}"
            table.add_row(*(Text(cell) for cell in cells), style=_COLOURS.get(row.status, ""))
        table.add_section()
    return table


def _cells(row: Row, settings: Sequence[str]) -> list[str]:
    return [
        row.dataset,
        row.method,
        row.status,
        str(row.n_seeds),
        f"{row.val.mean:.1f}" if row.val else "",
        f"{row.test.mean:.1f}" if row.test else "",
        _gain(row.gain),
        _gain(row.gain_over_own_teacher),
        # A baseline or control bears the name of what it is compared with.
        row.arm or ",".join(config[:8] for config in row.baseline_of or (row.config,)),
        *(_short(row.settings.get(name, "")) for name in settings),
    ]


def _heads(settings: Sequence[str]) -> list[str]:
    """Return the last part of each setting's name, the whole name where two end alike."""
    last = [name.rpartition(".")[2] for name in settings]
    return [end if last.count(end) == 1 else name for end, name in zip(last, settings, strict=True)]


def _short(value: str) -> str:
    """Shorten a number that a search drew to what one reads at a glance."""
    try:
        return f"{float(value):.4g}" if "." in value or "e" in value else value
    except ValueError:
        return value


def _gain(gain: Interval | None) -> str:
    """Phrase a gain as ``+1.2 ± 1.5``: a t interval lies evenly around the mean."""
    if gain is None:
        return ""
    if gain.low is None or gain.high is None:
        return f"{gain.mean:+.1f} (1 seed)"
    return f"{gain.mean:+.1f} ± {gain.high - gain.mean:.1f}"


def _csv(rows: Sequence[Row]) -> str:
    """All fields of a row; params become columns of their own, named ``param.<name>``."""
    records = []
    for row in rows:
        record = row.as_json()
        for several in ("run_ids", "baseline_of"):
            record[several] = " ".join(record[several])
        params = record.pop("params")
        records.append(record | {f"param.{name}": value for name, value in params.items()})
    names = list(dict.fromkeys(name for record in records for name in record))
    out = io.StringIO()
    writer = csv.DictWriter(out, names, lineterminator="\n")
    writer.writerow({name: csv_cell(name) for name in names})
    writer.writerows({name: csv_cell(cell) for name, cell in one.items()} for one in records)
    return out.getvalue()


def _markdown(rows: Sequence[Row], settings: Sequence[str]) -> str:
    columns = ("experiment", *_COLUMNS, *settings)
    rules = ["---:" if column in _NUMERIC else "---" for column in columns]
    lines = [columns, rules, *([row.experiment, *_cells(row, settings)] for row in rows)]
    return "".join(f"| {' | '.join(map(_md_cell, line))} |\n" for line in lines)


def _md_cell(text: str) -> str:
    """Return a cell as it stands: no name in it ends the cell, or is markup or HTML."""
    return re.sub(r"([\\`*<\[|])", r"\\\1", text)
