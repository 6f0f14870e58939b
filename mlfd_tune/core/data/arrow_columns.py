"""Which columns of a table are the images and their labels, and what the classes are."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from mlfd_tune.core.data.arrow_tables import ArrowTable
from mlfd_tune.core.data.image_files import unfit
from mlfd_tune.core.errors import UserError, allowed_values

__all__ = ["Columns", "Labels", "columns_of", "labels_of"]


class Columns(NamedTuple):
    """The names of the two columns that are read."""

    image: str
    label: str


class Labels(NamedTuple):
    """The classes, and the label of every row by split as (N,) int64 indices into them."""

    classes: tuple[str, ...]
    splits: dict[str, NDArray[np.int64]]


def columns_of(table: ArrowTable, image: str | None, label: str | None, where: str) -> Columns:
    """Return the columns to read.

    Args:
        table: The training images.
        image: The name that the column of the images must have; None for the only one.
        label: The name that the column of the labels must have; None for the only one that has
            named classes.
        where: The folder as messages name it.

    Raises:
        UserError: There is no such column, it is of another type, or there are several.
    """
    asked = {"image": image, "label": label}
    found: dict[str, str] = {}
    problems = []
    for role, name in asked.items():
        fitting = _images(table) if role == "image" else _labels(table, only_named=name is None)
        if name is None and len(fitting) == 1:
            found[role] = fitting[0]
        elif name is None:
            number = "no" if not fitting else "more than one"
            kind = "images" if role == "image" else "named classes"
            problems.append(
                f"{where} has {number} column of {kind}; set options.{role}_column "
                f"(columns: {_described(table)})"
            )
        elif name not in table.schema.names:
            allowed = allowed_values(name, table.schema.names)
            problems.append(f"{where}: options.{role}_column: no column {name!r} {allowed}")
        elif name not in fitting:
            problems.append(
                f"{where}: options.{role}_column: column {name!r} holds no {role}s "
                f"(columns: {_described(table)})"
            )
        else:
            found[role] = name
    if problems:
        raise UserError(*problems)
    return Columns(**found)


def labels_of(tables: Mapping[str, ArrowTable], column: str, where: str) -> Labels:
    """Return the classes and labels of a column.

    The classes are those the dataset names, or else the values in the training images, sorted:
    numbers by size and texts by their letters.

    Raises:
        UserError: A row has no label, or one that is no class; splits differ in their classes;
            there are fewer than two classes. All at once.
    """
    names = {split: _names(table, column, where) for split, table in tables.items()}
    differing = [split for split, given in names.items() if given != names["train"]]
    if differing:
        told = "has other classes than train in column"
        raise UserError(*(f"{where}: {split} {told} {column!r}" for split in differing))
    values = {split: list(table.column(column)) for split, table in tables.items()}
    present = {value for value in values["train"] if value is not None}
    classes: list[Any] = list(range(len(names["train"]))) if names["train"] else sorted(present)
    problems = []
    odd = [name for name in names["train"] or map(str, classes) if unfit(name)]
    if odd:
        problems.append(f"{where}: class {odd[0][:80]!r} holds characters that are no text")
    if len(classes) < 2:
        problems.append(f"{where}: column {column!r} has fewer than two classes in train")
    number = {value: label for label, value in enumerate(classes)}
    for split, given in values.items():
        wrong = [(row, value) for row, value in enumerate(given) if value not in number]
        if wrong:
            problems.append(f"{where}: {_wrong(split, wrong, names['train'] or classes)}")
    if problems:
        raise UserError(*problems)
    return Labels(
        tuple(names["train"] or (str(value) for value in classes)),
        {
            split: np.array([number[value] for value in given], dtype=np.int64)
            for split, given in values.items()
        },
    )


def _names(table: ArrowTable, column: str, where: str) -> list[str] | None:
    """Return the names that the dataset gives its classes; None where it gives none."""
    names = table.features.get(column, {}).get("names")
    if not names:
        return None
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise UserError(f"{where}: column {column!r} has names of classes that are no texts")
    return names


def _wrong(split: str, wrong: list[tuple[int, Any]], classes: list[Any]) -> str:
    row, value = wrong[0]
    rows = f"1 row of {split} has" if len(wrong) == 1 else f"{len(wrong)} rows of {split} have"
    if value is None or value == -1:
        advice = "; set options.test_split to another split or to null" if split == "test" else ""
        return f"{rows} no label, the first is row {row}{advice}"
    allowed = allowed_values(str(value), map(str, classes))
    return f"{rows} a label that is no class, the first is {value!r} in row {row} {allowed}"


def _images(table: ArrowTable) -> list[str]:
    """Return the columns of files as bytes: plain, or beside the path they came from."""
    import pyarrow.types as kinds

    found = []
    for field in table.schema:
        inner = field.type
        if kinds.is_struct(inner) and inner.get_field_index("bytes") >= 0:
            inner = inner.field("bytes").type
        declared = table.features.get(field.name, {}).get("_type", "Image")
        if declared == "Image" and (kinds.is_binary(inner) or kinds.is_large_binary(inner)):
            found.append(field.name)
    return found


def _labels(table: ArrowTable, *, only_named: bool) -> list[str]:
    import pyarrow.types as kinds

    def fits(field: Any) -> bool:
        named = table.features.get(field.name, {}).get("_type") == "ClassLabel"
        kind = field.type
        texts = kinds.is_string(kind) or kinds.is_large_string(kind)
        plain = bool(texts or kinds.is_integer(kind) or kinds.is_boolean(kind))
        return plain and (named or not only_named)

    return [field.name for field in table.schema if fits(field)]


def _described(table: ArrowTable) -> str:
    """Return every column with what it holds."""
    told = []
    for field in table.schema:
        feature = table.features.get(field.name, {})
        kind = feature.get("_type", "")
        if kind == "ClassLabel":
            names = feature.get("names")
            kind = f"{len(names) if isinstance(names, list) else 0} classes"
        told.append(f"{field.name}: {kind if kind not in ('', 'Value') else field.type}")
    return ", ".join(told)
