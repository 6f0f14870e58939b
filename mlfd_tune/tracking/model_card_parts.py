"""Pieces of Markdown that the sections of a model card are made of."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence

from mlfd_tune.core.printable import printable

__all__ = ["cell", "code", "fenced", "number", "plain", "table"]


def plain(text: str) -> str:
    """Return a text from outside that is shown as it stands: no markup, no link, no HTML."""
    return re.sub(r"([\\`*<>\[\]|&])", r"\\\1", printable(" ".join(text.split())))


def code(text: str) -> str:
    """Return a text from outside as code, in more backticks than it has in a row."""
    shown = printable(" ".join(text.split()))
    ticks = "`" * (1 + max(map(len, re.findall("`+", shown)), default=0))
    space = " " if "`" in shown else ""
    return f"{ticks}{space}{shown}{space}{ticks}"


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
