"""The lines of a CSV file, and problems of so many lines that they cannot all be told."""

from __future__ import annotations

import csv
import io
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from mlfd_tune.core.data.image_files import beside
from mlfd_tune.core.errors import UserError
from mlfd_tune.core.paths import not_a_file

__all__ = ["LineProblems", "csv_lines"]

SHOWN = 10  # problems of one kind that are told one by one


class LineProblems:
    """What is wrong with a file. The first problems of each kind are told, the others counted.

    Args:
        where: The file as messages name it.
    """

    def __init__(self, where: str) -> None:
        self.where = where
        self._told: list[str] = []
        self._kinds: Counter[str] = Counter()

    def add(self, kind: str, text: str) -> None:
        """Add a problem.

        Args:
            kind: What is wrong with all lines of this kind, as it follows "12 more lines".
            text: What is wrong with this one.
        """
        self._kinds[kind] += 1
        if self._kinds[kind] <= SHOWN:
            self._told.append(f"{self.where}: {text}")

    def stop(self, error: UserError) -> None:
        """Add what ended the reading."""
        self._told += error.problems

    @property
    def all(self) -> tuple[str, ...]:
        """All problems as they are shown, one line each."""
        more = {kind: count - SHOWN for kind, count in self._kinds.items() if count > SHOWN}
        rest = (f"{self.where}: {count} more lines {kind}" for kind, count in more.items())
        return (*self._told, *rest)


def csv_lines(path: Path, where: str) -> Iterator[tuple[int, list[str]]]:
    """Yield the number and the fields of every line that is not blank, spaces around them cut off.

    Args:
        path: A CSV file in UTF-8, with or without a byte order mark.
        where: The file as messages name it.

    Raises:
        UserError: The file does not exist, is not UTF-8, or has a line that is not CSV.
    """
    wrong = not_a_file(path)
    if wrong == "does not exist":
        raise UserError(f"{where} does not exist{beside(path)}")
    if wrong:
        text = "is a folder, not a CSV file" if wrong == "is a folder" else wrong
        raise UserError(f"{where} {text}")
    try:
        content = path.read_bytes()
    except OSError as error:
        raise UserError(f"{where} cannot be read: {error.strerror}") from error
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise UserError(f"{where} is not text in UTF-8 (line {line}); save it as UTF-8") from None
    reader = csv.reader(io.StringIO(text, newline=""), strict=True)
    try:
        for fields in reader:
            if fields:
                yield reader.line_num, [value.strip() for value in fields]
    except csv.Error as error:
        raise UserError(f"{where}: line {reader.line_num} is not valid CSV: {error}") from None
