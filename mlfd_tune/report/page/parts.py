"""What a report is made of: sections, and the parts that stand in them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from markupsafe import Markup

__all__ = [
    "Absent",
    "Cell",
    "Drawing",
    "Fact",
    "Facts",
    "Listing",
    "Node",
    "Part",
    "Section",
    "Table",
    "Tree",
    "Words",
]


@dataclass(frozen=True)
class Words:
    """A paragraph."""

    kind: ClassVar = "words"
    text: str


@dataclass(frozen=True)
class Absent:
    """Why there is nothing to be seen, and how to get it.

    Attributes:
        why: A sentence; what it lists stands on lines of its own.
        command: What gives it, if a command does.
    """

    kind: ClassVar = "absent"
    why: str
    command: str = ""


@dataclass(frozen=True)
class Fact:
    """A number with its name.

    Attributes:
        name: What it is.
        value: As it is shown.
        note: A few words below.
    """

    name: str
    value: str
    note: str = ""


@dataclass(frozen=True)
class Facts:
    """Numbers beside each other."""

    kind: ClassVar = "facts"
    facts: Sequence[Fact]


@dataclass(frozen=True)
class Cell:
    """A cell of a table.

    Attributes:
        text: As it is shown.
        detail: What stands smaller below it, such as an interval's ends.
        order: What rows are sorted by; the text where None.
        whisker: Low end, middle and high end of an interval, each as a share (0 to 1) of the
            column's range, to be drawn beside the text.
        mark: A word that the style sheet knows, such as ``higher``; shown as a label.
    """

    text: str
    order: float | None = None
    detail: str = ""
    whisker: tuple[float, float, float] | None = None
    mark: str = ""


@dataclass(frozen=True)
class Table:
    """Rows that can be sorted.

    Attributes:
        id: Unique in the page.
        caption: What it shows.
        columns: Heads. The first column's cells head their rows.
        rows: One cell for each column.
        numeric: Which columns hold numbers and stand to the right.
        note: A line below.
        folded: Whether it is so long that a reader has to unfold it.
    """

    kind: ClassVar = "table"
    id: str
    caption: str
    columns: Sequence[str]
    rows: Sequence[Sequence[Cell]]
    numeric: frozenset[int] = frozenset()
    note: str = ""
    folded: bool = False


@dataclass(frozen=True)
class Drawing:
    """A figure with what reproduces it.

    Attributes:
        id: Unique in the page.
        svg: From `mlfd_tune.report.page.svg.drawn`.
        caption: What is to be seen.
        commands: Command lines that make it.
        config: The part of the experiment's configuration it depends on, as YAML.
        wide: Whether it is so dense that a phone scrolls it sideways in its own frame.
    """

    kind: ClassVar = "drawing"
    id: str
    svg: Markup
    caption: str
    commands: Sequence[str]
    config: str
    wide: bool = True


@dataclass(frozen=True)
class Node:
    """A knot of a tree.

    Attributes:
        name: What it is.
        note: A few words beside it.
        mark: A label, such as ``from the store``.
        below: What it is made of.
    """

    name: str
    note: str
    mark: str
    below: Sequence[Node] = ()


@dataclass(frozen=True)
class Tree:
    """Trees of what is made of what."""

    kind: ClassVar = "tree"
    caption: str
    roots: Sequence[Node]


@dataclass(frozen=True)
class Listing:
    """Text as it stands in a file."""

    kind: ClassVar = "listing"
    caption: str
    text: str


Part = Words | Absent | Facts | Table | Drawing | Tree | Listing


@dataclass(frozen=True)
class Section:
    """A section of the page.

    Attributes:
        id: Unique in the page; the address of its heading.
        title: Its heading.
        parts: What stands in it, in order.
        note: What has to be said of all of it, at the end.
    """

    id: str
    title: str
    parts: Sequence[Part]
    note: str = ""

    @property
    def is_empty(self) -> bool:
        """Whether it says only why there is nothing."""
        return all(isinstance(part, Absent) for part in self.parts)
