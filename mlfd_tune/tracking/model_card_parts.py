"""Pieces of Markdown that the sections of a model card are made of."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

__all__ = ["cell", "fenced", "number", "table"]


def cell(text: str) -> str:
    """Return a text that does not end a table's cell or line."""
    return " ".join(text.split()).replace("|", "\\|")


def table(columns: Sequence[str], rows: Iterable[Sequence[str]]) -> Iterator[str]:
    """Yield the lines of a table."""
    yield f"| {' | '.join(columns)} |"
    yield f"|{' --- |' * len(columns)}"
    for row in rows:
        yield f"| {' | '.join(map(cell, row))} |"


def fenced(lines: Iterable[str], language: str = "") -> Iterator[str]:
    """Yield lines as a block of code."""
    yield f"```{language}"
    yield from lines
    yield "```"


def number(value: float | None, digits: int = 2) -> str:
    """Return a number with as many decimals, empty for None."""
    return "" if value is None else f"{value:.{digits}f}"
