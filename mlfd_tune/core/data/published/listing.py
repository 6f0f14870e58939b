"""What a published dataset's own files say about its images, and what is wrong with them."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from mlfd_tune.core.data.image_files import names_in
from mlfd_tune.core.data.published.notes import first_few
from mlfd_tune.core.data.relative_paths import leaves_folder
from mlfd_tune.core.data.source import Official
from mlfd_tune.core.errors import nearest

__all__ = ["ListedImage", "Listing", "Row", "whole_number"]

ARCHIVES = (".zip", ".tar", ".tgz", ".tar.gz")


class ListedImage(NamedTuple):
    """One image as a dataset's files list it.

    Attributes:
        path: Where it lies, relative to the dataset's folder.
        label: Its class, an index into the listing's classes.
        where: What lists it, as messages say it: ``images.txt line 7``.
    """

    path: str
    label: int
    where: str


class Row(NamedTuple):
    """One line of a list file, cut into words.

    Attributes:
        where: File and line, as messages say it.
        words: As many as the file has columns.
    """

    where: str
    words: tuple[str, ...]


@dataclass
class Listing:
    """What a dataset's files say, and what is wrong with them.

    Attributes:
        root: The folder that holds the dataset.
        official: What is there when it is whole.
        classes: Class names.
        splits: Images by split; empty where the files do not tell.
        read: The list files that decided it, relative to `root`.
        problems: What makes `load` fail, one line each.
        warnings: What is odd but allowed, one line each.
    """

    root: Path
    official: Official
    classes: tuple[str, ...] = ()
    splits: dict[str, list[ListedImage]] = field(default_factory=dict)
    read: list[str] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)

    def at(self, where: str) -> str:
        """Return a place in the dataset as messages name it."""
        return f"{where} in dataset folder {self.root}"

    def add(self, where: str, problems: Sequence[str]) -> None:
        """Note problems of one kind in one file or folder; where there are many, the first few."""
        self.problems += first_few(problems, self.at(where))

    def require_file(self, relative: str) -> bool:
        """Return whether a file is there, with a problem noted where it is not."""
        if (self.root / relative).is_file():
            return True
        self.problems.append(self._missing(relative))
        return False

    def require_folder(self, relative: str) -> bool:
        """Return whether the folder of the images is there, not nested in another of its name."""
        folder = self.root / relative
        if not folder.is_dir():
            self.problems.append(self._missing(relative))
        elif (folder / relative).is_dir():
            self.problems.append(
                f"{self.at(f'{relative}/{relative}')} is one folder too deep; "
                f"move what it holds to {relative}"
            )
        else:
            return True
        return False

    def rows(self, relative: str, columns: Sequence[str]) -> list[Row]:
        """Return the rows of a list file; blank lines and lines that begin with ``#`` are none.

        Args:
            relative: The file.
            columns: What stands in a row, for the message about one that is cut wrong.
        """
        if not self.require_file(relative):
            return []
        try:
            text = (self.root / relative).read_text(encoding="utf-8-sig")
        except (OSError, UnicodeDecodeError) as error:
            self.problems.append(
                f"{self.at(relative)} cannot be read as text ({error}); take it from the archive"
            )
            return []
        self.read.append(relative)
        rows, malformed = [], []
        for number, line in enumerate(text.split("\n"), start=1):
            words = tuple(line.split())
            if not words or words[0].startswith("#"):
                continue
            where = f"{relative} line {number}"
            if len(words) == len(columns):
                rows.append(Row(where, words))
            else:
                form = " ".join(f"<{column}>" for column in columns)
                malformed.append(f"{self.at(where)}: {line.strip()[:80]!r} should be {form}")
        self.add(relative, malformed)
        if not rows and not malformed:
            self.problems.append(f"{self.at(relative)} has no rows; take it from the archive")
        return rows

    def stays_inside(self, row: Row, path: str) -> bool:
        """Return whether a path stays in the dataset, with a problem noted where it does not."""
        outside = leaves_folder(path)
        if outside:
            self.problems.append(
                f"{self.at(row.where)}: path {path!r} leads out of the dataset; "
                "only paths below it are read"
            )
        return not outside

    def _missing(self, relative: str) -> str:
        lost = self.root / relative
        while not lost.parent.is_dir():
            lost = lost.parent
        names = names_in(lost.parent)
        packed = [name for name in names if name.lower().endswith(ARCHIVES)]
        known = {word.rstrip("/") for word in self.official.layout.split()}
        near = nearest(lost.name, set(names) - set(packed) - known)
        hint = f" (is it {near!r}?)" if near else ""
        cure = f"unpack {packed[0]}" if packed else f"take it from {self.official.home}"
        return f"{self.at(relative)} is missing{hint}; {cure}"


def whole_number(word: str) -> int | None:
    """Return the number a word of a list file says; None where it is none."""
    return int(word) if re.fullmatch("[0-9]{1,9}", word) else None
