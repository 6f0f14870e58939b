"""Writes tables for the terminal and as Markdown, LaTeX or CSV."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from typing import Final, Literal

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table
from rich.text import Text

from mlfd_tune.ablation.latex import latex
from mlfd_tune.ablation.table_model import Cell, ResultTable
from mlfd_tune.core.errors import UserError, allowed_values
from mlfd_tune.core.printable import csv_cell, printable

__all__ = ["FORMATS", "WIDTH", "render", "rich_table", "rich_tables"]

FORMATS: Final = ("table", "md", "latex", "csv")

WIDTH: Final = 100
"""Columns of a terminal that no table is wider than."""

_STYLES: Final = {"best": "bold", "second": "underline", None: ""}
_MARKDOWN: Final = {"best": "**{}**", "second": "<ins>{}</ins>", None: "{}"}


def render(tables: Sequence[ResultTable], notes: Sequence[str], form: str) -> str:
    """Return tables and the notes below them as text.

    A CSV file has the numbers unrounded, in columns of their own, and no notes.

    Args:
        tables: What to write.
        notes: One line each.
        form: One of `FORMATS`.

    Raises:
        UserError: For an unknown format.
    """
    if form == "table":
        out = Console(width=WIDTH, file=io.StringIO(), record=True)
        out.print(*rich_tables(tables, notes), sep="\n", highlight=False)
        return "".join(f"{line.rstrip()}\n" for line in out.export_text().splitlines())
    if form == "md":
        return printable(_markdown(tables, notes), keep="\n")
    if form == "latex":
        return printable(latex(tables, notes), keep="\n")
    if form == "csv":
        return _csv(tables)
    raise UserError(f"format: unknown {form!r} {allowed_values(form, FORMATS)}")


def rich_tables(tables: Sequence[ResultTable], notes: Sequence[str]) -> list[Table | Text]:
    """Return what the terminal shows; a caption that several tables share stands once."""
    captions = dict.fromkeys(_caption(table) for table in tables if table.caption)
    lines = [*captions, *(f"Note: {note}." for note in notes)]
    drawn: list[Table | Text] = []
    for table in tables:
        # Not the table's own title, which would be folded to its width.
        drawn += [Text(table.title, style="bold"), rich_table(table)]
    return [*drawn, *(Text(line, style="dim") for line in lines)]


def rich_table(table: ResultTable) -> Table:
    """Return a table for the terminal, at most `WIDTH` wide."""
    drawn = Table(box=SIMPLE_HEAD, padding=0, pad_edge=False)
    for column in table.columns:
        justify: Literal["left", "right"] = "right" if column.is_number else "left"
        drawn.add_column(column.name, justify=justify, overflow="fold")
    for row in table.rows:
        drawn.add_row(*(Text(cell.text, style=_STYLES[cell.mark]) for cell in row))
    return drawn


def _caption(table: ResultTable) -> str:
    """Return the caption as it holds for every dataset."""
    dataset = table.keys.get("dataset")
    return table.caption.replace(f" on {dataset}", "") if dataset else table.caption


def _markdown(tables: Sequence[ResultTable], notes: Sequence[str]) -> str:
    parts = []
    for table in tables:
        heads = [_escaped(column.name) for column in table.columns]
        rules = ["---:" if column.is_number else "---" for column in table.columns]
        lines = [heads, rules, *([_marked(cell) for cell in row] for row in table.rows)]
        drawn = "\n".join(f"| {' | '.join(cells)} |" for cells in lines)
        parts += [f"**{_escaped(table.title)}**", drawn]
        parts += [_escaped(table.caption)] if table.caption else []
    parts += ["\n".join(f"- {_escaped(note)}" for note in notes)] if notes else []
    return "\n\n".join(parts) + "\n"


def _marked(cell: Cell) -> str:
    return _MARKDOWN[cell.mark].format(_escaped(cell.text))


def _escaped(text: str) -> str:
    for character in "\\|*_<`":
        text = text.replace(character, f"\\{character}")
    return text.replace("](", "]\\(")  # a bracket alone is no link


def _csv(tables: Sequence[ResultTable]) -> str:
    records = []
    for table in tables:
        fields = [name for column in table.columns for name in column.fields]
        for row in table.rows:
            values = [value for cell in row for value in cell.values]
            records.append({**table.keys, **dict(zip(fields, values, strict=True))})
    names = list(dict.fromkeys(name for record in records for name in record))
    out = io.StringIO()
    writer = csv.DictWriter(out, names, lineterminator="\n")
    writer.writerow({name: csv_cell(name) for name in names})
    writer.writerows({name: csv_cell(cell) for name, cell in one.items()} for one in records)
    return out.getvalue()
