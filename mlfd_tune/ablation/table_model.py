"""What a table is before it is drawn: cells with their text, their numbers and their marks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Literal

__all__ = ["Cell", "Column", "Mark", "Number", "ResultTable", "marked"]

Mark = Literal["best", "second"]
Number = float | int | str | None


@dataclass(frozen=True)
class Column:
    """A column.

    Attributes:
        name: Its heading.
        fields: Names of the numbers behind each cell, one column of a CSV file each.
        is_number: Whether it is set to the right.
    """

    name: str
    fields: tuple[str, ...]
    is_number: bool = True


@dataclass(frozen=True)
class Cell:
    """A cell.

    Attributes:
        text: What people read, rounded.
        values: What programs read, unrounded, one for each field of the column.
        mark: Whether it is the best or second best of its column.
    """

    text: str
    values: tuple[Number, ...]
    mark: Mark | None = None


@dataclass(frozen=True)
class ResultTable:
    """A table.

    Attributes:
        title: One line above it.
        columns: Its columns.
        rows: Its rows, each with a cell for every column.
        caption: What one must know to read it.
        keys: What all rows share, as further columns of a CSV file, such as the dataset.
    """

    title: str
    columns: tuple[Column, ...]
    rows: tuple[tuple[Cell, ...], ...]
    caption: str = ""
    keys: Mapping[str, str] = field(default_factory=dict)


def marked(cells: Sequence[Cell]) -> list[Cell]:
    """Mark the highest and second highest of a column by their first values.

    Cells that read alike are marked alike; where all read alike, none is. Empty cells are left.
    """
    texts = {cell.text: cell.values[0] for cell in cells if isinstance(cell.values[0], float)}
    falling = sorted(texts, key=lambda text: float(texts[text] or 0), reverse=True)
    if len(falling) < 2:
        return list(cells)
    marks: dict[str, Mark] = {falling[0]: "best", falling[1]: "second"}
    return [replace(cell, mark=marks.get(cell.text)) if cell.text else cell for cell in cells]
