"""Images listed in a CSV file: one line an image, with its path, its label and maybe its split."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, NamedTuple

from pydantic import Field

from mlfd_tune.core.data.csv_lines import LineProblems, csv_lines
from mlfd_tune.core.data.image_files import beside, file_split, files_hash, unfit
from mlfd_tune.core.data.raw import RawDataset, RawSplit
from mlfd_tune.core.data.relative_paths import leaves_folder
from mlfd_tune.core.data.source import Fingerprint, InspectedSource, Inspection
from mlfd_tune.core.errors import UserError, allowed_values, nearest
from mlfd_tune.core.paths import expanded, is_folder, not_a_file
from mlfd_tune.core.spec import Spec

if TYPE_CHECKING:
    from mlfd_tune.core.data.spec import DatasetSpec

__all__ = ["CsvList"]

SPLITS = ("train", "val", "test")


class CsvOptions(Spec):
    """Which columns of a CSV file to read, and where its images lie."""

    path_column: str = Field(default="path", description="Column of the images' paths.")
    label_column: str = Field(default="label", description="Column of the class names.")
    split_column: str | None = Field(
        default="split",
        description="Column that says train, val or test, where there is one; null for none.",
    )
    root: str = Field(
        default=".",
        description="Folder that the images' paths are relative to, seen from the file's own.",
    )


class CsvList(InspectedSource):
    """A CSV file in UTF-8 whose first line names the columns; all values are text as it stands.

    A class called ``007`` or ``NA`` keeps its name. The classes are the labels of the training
    images, sorted; the images come in the order of their paths, whatever the order of the lines.
    """

    name = "csv"
    description = "your own images: a CSV file with the columns path, label and maybe split"
    flip = False  # nobody knows what is in there
    path = "required"
    path_is = "list"
    Options = CsvOptions
    places = frozenset({"root"})

    def fingerprint(self, spec: DatasetSpec) -> Fingerprint:
        """Return the hash of what the lines say, in any order, and of the images' contents."""
        found = _read(spec, self.options(spec))
        if found.problems:
            raise UserError(*found.problems)
        lines = "".join(f"{row.path}\0{row.label}\0{row.split}\n" for row in found.rows)
        return {
            "source": self.name,
            "list": hashlib.sha256(lines.encode()).hexdigest(),
            "sha256": files_hash(found.root, [row.path for row in found.rows]),
        }

    def inspect(self, spec: DatasetSpec) -> Inspection:
        """Return all that is wrong with the lines at once, with what can be used in spite of it."""
        found = _read(spec, self.options(spec))
        classes = _classes(found.rows)
        given = {row.split for row in found.rows}
        splits = {split: _split(found, split, classes) for split in SPLITS if split in given}
        raw = RawDataset(classes, splits) if "train" in splits else None
        return Inspection(raw, found.problems)


class _Row(NamedTuple):
    """What one line says."""

    path: str
    label: str
    split: str
    line: int


class _Found(NamedTuple):
    """The lines that can be used, in the order of their paths, and what is wrong with the others.

    Where all is well, these are all lines.
    """

    root: Path
    rows: list[_Row]
    problems: tuple[str, ...]


def _read(spec: DatasetSpec, options: CsvOptions) -> _Found:
    path = expanded(spec.path or "")
    root = path.parent / expanded(options.root)
    problems = LineProblems(f"dataset list {path}")
    rows: list[_Row] = []
    try:
        lines = csv_lines(path, problems.where)
        header = next(lines, (0, []))[1]
        columns = _columns(header, options, problems.where)
        if not is_folder(root):
            raise UserError(
                f"{problems.where}: options.root: there is no folder {root}{beside(root)}"
            )
        for line, fields in lines:
            row = _row(line, fields, columns)
            wrong = list(_wrong(row, root) if row else _wrong_length(line, fields, header))
            for kind, text in wrong:
                problems.add(kind, text)
            if row and not wrong:
                rows.append(row._replace(path=str(PurePosixPath(row.path))))
    except UserError as error:
        problems.stop(error)
    else:
        rows = _fitting(rows, problems)
    return _Found(root, sorted(rows), problems.all)


class _Columns(NamedTuple):
    """The places of the columns, and how many there are."""

    path: int
    label: int
    split: int | None
    width: int


def _columns(header: list[str], options: CsvOptions, where: str) -> _Columns:
    if not header:
        raise UserError(f"{where} is empty: its first line must name the columns")
    separator = next((mark for mark in ";\t|" if len(header) == 1 and mark in header[0]), None)
    if separator:
        raise UserError(f"{where}: its fields are separated by {separator!r}; commas are needed")
    problems = [
        f"{where}: column {name!r} stands {count} times"
        for name, count in Counter(header).items()
        if count > 1
    ]
    for option in ("path_column", "label_column"):
        name = getattr(options, option)
        if name not in header:
            allowed = allowed_values(name, header)
            problems.append(f"{where} has no column {name!r}; set options.{option} {allowed}")
    problems += _split_problem(header, options, where)
    if problems:
        raise UserError(*problems)
    split = options.split_column
    return _Columns(
        header.index(options.path_column),
        header.index(options.label_column),
        header.index(split) if split is not None and split in header else None,
        len(header),
    )


def _split_problem(header: list[str], options: CsvOptions, where: str) -> list[str]:
    """Say whether the column of the splits is missed, or only may be.

    A list that is divided and taken for one that is not would train on its test images.
    """
    split = options.split_column
    if split is None or split in header:
        return []
    taken = (options.path_column, options.label_column)
    others = {name.lower(): name for name in header if name not in taken}
    near = others.get(nearest(split.lower(), others) or "")
    if near is None and split == CsvOptions().split_column:
        return []
    hint = f" (did you mean {near!r}?)" if near else ""
    return [
        f"{where} has no column {split!r}{hint}; set options.split_column to the right one, or to "
        "null to have the splits carved"
    ]


def _row(line: int, fields: list[str], columns: _Columns) -> _Row | None:
    if len(fields) != columns.width:
        return None
    split = "train" if columns.split is None else fields[columns.split]
    return _Row(fields[columns.path], fields[columns.label], split, line)


def _wrong_length(line: int, fields: list[str], header: list[str]) -> Iterator[tuple[str, str]]:
    columns = f"{len(header)} columns ({', '.join(header)})"
    noun = "field" if len(fields) == 1 else "fields"
    yield "of another length", f"line {line} has {len(fields)} {noun}, the first line {columns}"


def _wrong(row: _Row, root: Path) -> Iterator[tuple[str, str]]:
    """Say what is wrong with a line by itself, as a kind of problem and in words."""
    if not row.path:
        yield "without a path", f"line {row.line} has no path"
    elif leaves_folder(row.path):
        yield (
            "with a path that leaves the folder",
            f"line {row.line}: {row.path!r} leaves the folder of the images; give a path inside "
            f"{root}, or set options.root",
        )
    else:
        yield from _wrong_file(row, root)
    if not row.label:
        yield "without a label", f"line {row.line} has no label"
    elif unfit(row.label):
        yield (
            "with a label that is no text",
            f"line {row.line}: label {row.label!r} holds characters that are no text",
        )
    if row.split not in SPLITS:
        allowed = allowed_values(row.split, SPLITS)
        yield "of an unknown split", f"line {row.line}: unknown split {row.split!r} {allowed}"


def _wrong_file(row: _Row, root: Path) -> Iterator[tuple[str, str]]:
    if odd := unfit(row.path):
        yield "with an image of an odd name", f"line {row.line}: {row.path!r} {odd}"
        return
    wrong = not_a_file(root / row.path)
    if wrong == "does not exist":
        yield (
            "whose image does not exist",
            f"line {row.line}: there is no image {row.path!r} in {root}",
        )
    elif wrong:
        yield "whose image is no file", f"line {row.line}: {row.path!r} in {root} {wrong}"


def _fitting(rows: list[_Row], problems: LineProblems) -> list[_Row]:
    """Return the lines that fit to one another, and say what is wrong with the others."""
    first: dict[str, _Row] = {}
    for row in rows:
        twin = first.setdefault(row.path, row)
        if twin is not row:
            lines = f"in lines {twin.line} and {row.line}{_differences(twin, row)}"
            problems.add("of an image listed before", f"{row.path!r} is listed twice, {lines}")
    classes = _classes(list(first.values()))
    if not classes:
        problems.stop(UserError(f"{problems.where} lists no training image that can be used"))
        return []
    if len(classes) == 1:
        told = f"has one class only ({classes[0]!r}); at least two are needed"
        problems.stop(UserError(f"{problems.where} {told}"))
    known = set(classes)
    for row in first.values():
        if row.label not in known:
            allowed = allowed_values(row.label, classes)
            problems.add(
                "of a class that train has not",
                f"line {row.line}: train has no class {row.label!r} {allowed}",
            )
    return [row for row in first.values() if row.label in known]


def _differences(first: _Row, second: _Row) -> str:
    labels = f", as {first.label!r} and {second.label!r}" if first.label != second.label else ""
    splits = f", for {first.split} and {second.split}" if first.split != second.split else ""
    return labels + splits


def _classes(rows: list[_Row]) -> tuple[str, ...]:
    return tuple(sorted({row.label for row in rows if row.split == "train"}))


def _split(found: _Found, split: str, classes: tuple[str, ...]) -> RawSplit:
    number = {name: label for label, name in enumerate(classes)}
    rows = [row for row in found.rows if row.split == split]
    return file_split(found.root, [row.path for row in rows], [number[row.label] for row in rows])
