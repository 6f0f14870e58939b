"""The two forms that CIFAR's files come in: pickled for Python, and binary records."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mlfd_tune.core.data.image_files import unfit
from mlfd_tune.core.data.published.byte_pickle import ByteArray, read_pickle
from mlfd_tune.core.errors import UserError

__all__ = ["PIXELS", "Batch", "BinaryForm", "Form", "Labels", "PythonForm"]

PIXELS = 3 * 32 * 32  # bytes of an image: its red, green and blue plane, each row by row


@dataclass(frozen=True)
class Labels:
    """One of the ways in which the images are labelled, and where each form keeps it.

    Attributes:
        count: How many classes there are.
        key: Key of the labels in a pickled batch.
        names_key: Key of the classes' names in the pickled file of names.
        column: Which byte of a binary record is the label.
        names_file: The text file of the classes' names that goes with binary records.
    """

    count: int
    key: str
    names_key: str
    column: int
    names_file: str


@dataclass(frozen=True)
class Batch:
    """The images of one file.

    Attributes:
        pixels: (N, 3072) uint8.
        labels: (N,) int64.
        names: The images' own file names; empty where the form has none.
    """

    pixels: NDArray[np.uint8]
    labels: NDArray[np.int64]
    names: tuple[str, ...] = ()


@dataclass(frozen=True)
class Form(ABC):
    """One form of a dataset's files.

    Attributes:
        folder: Name of the folder that the archive unpacks to.
        archive: Name of the archive.
        train: Files of the training images.
        test: File of the test images.
        meta: Files of the classes' names.
    """

    folder: str
    archive: str
    train: tuple[str, ...]
    test: str
    meta: tuple[str, ...]

    @property
    def files(self) -> tuple[str, ...]:
        """All files that the form needs."""
        return (*self.train, self.test, *self.meta)

    @abstractmethod
    def names_file(self, labels: Labels) -> str:
        """Return the file that holds the classes' names."""

    @abstractmethod
    def batch(self, root: Path, file: str, labels: Labels) -> Batch:
        """Return the images in one of the files.

        Raises:
            UserError: What is wrong with the file, all at once.
        """

    @abstractmethod
    def class_names(self, root: Path, labels: Labels) -> tuple[str, ...]:
        """Return the classes' names, in the order of the labels.

        Raises:
            UserError: There are more or fewer, or the file cannot be read.
        """


class PythonForm(Form):
    """Dictionaries pickled by Python 2, whose keys are read as bytes."""

    def names_file(self, labels: Labels) -> str:
        """Return the one pickled file of names."""
        return self.meta[0]

    def batch(self, root: Path, file: str, labels: Labels) -> Batch:
        """Return the images in a pickled batch."""
        shown = f"{file} in dataset folder {root}"
        held = _dictionary(root / file, shown, ("data", labels.key))
        data, numbers, names = held["data"], held[labels.key], held.get("filenames", [])
        pixels = data.values if isinstance(data, ByteArray) else None
        if pixels is None or pixels.ndim != 2 or pixels.shape[1] != PIXELS or len(pixels) == 0:
            found = "no array of bytes" if pixels is None else f"an array of shape {pixels.shape}"
            raise UserError(
                f"{shown}: 'data' is {found}, not one of shape (images, {PIXELS}); "
                f"unpack {self.archive} again"
            )
        problems = [
            f"{shown}: {len(values)} {key!r} for {len(pixels)} images; unpack {self.archive} again"
            for key, values in ((labels.key, numbers), ("filenames", names))
            if len(values) != len(pixels) and (values or key == labels.key)
        ]
        problems += _out_of_range(numbers, labels.count, shown, repr(labels.key))
        if problems:
            raise UserError(*problems)
        own = _texts(names, f"{shown}: 'filenames'")
        return Batch(pixels, np.array(numbers, dtype=np.int64), own)

    def class_names(self, root: Path, labels: Labels) -> tuple[str, ...]:
        """Return the names in the pickled file of names."""
        shown = f"{self.meta[0]} in dataset folder {root}"
        held = _dictionary(root / self.meta[0], shown, (labels.names_key,))
        where = f"{shown}: {labels.names_key!r}"
        return _checked(_texts(held[labels.names_key], where), labels, where)


@dataclass(frozen=True)
class BinaryForm(Form):
    """Records of a fixed size: label bytes, then pixels.

    Attributes:
        label_bytes: Bytes before the pixels.
    """

    label_bytes: int

    def names_file(self, labels: Labels) -> str:
        """Return the text file that goes with the labels."""
        return labels.names_file

    def batch(self, root: Path, file: str, labels: Labels) -> Batch:
        """Return the images in a file of records."""
        shown = f"{file} in dataset folder {root}"
        size = self.label_bytes + PIXELS
        content = np.frombuffer(_bytes(root / file, shown), dtype=np.uint8)
        if len(content) == 0 or len(content) % size:
            raise UserError(
                f"{shown} has {len(content):,} bytes, which is not a whole number of records of "
                f"{size:,} bytes; unpack {self.archive} again"
            )
        records = content.reshape(-1, size)
        numbers = records[:, labels.column].astype(np.int64)
        problems = _out_of_range(numbers.tolist(), labels.count, shown, "label")
        if problems:
            raise UserError(*problems)
        return Batch(records[:, self.label_bytes :], numbers)

    def class_names(self, root: Path, labels: Labels) -> tuple[str, ...]:
        """Return the lines of the text file of names."""
        shown = f"{labels.names_file} in dataset folder {root}"
        lines = _bytes(root / labels.names_file, shown).decode("utf-8", "replace").split("\n")
        names = tuple(line.strip() for line in lines if line.strip())
        return _checked(names, labels, shown)


def _dictionary(path: Path, shown: str, keys: Sequence[str]) -> dict[str, Any]:
    """Return a pickled dictionary; every value but ``data`` is a list."""
    content = read_pickle(path, shown)
    if not isinstance(content, dict):
        raise UserError(f"{shown} holds a {type(content).__name__}, not a dictionary")
    held = {_text(key): value for key, value in content.items() if isinstance(key, bytes | str)}
    problems = [f"{shown} has no key {key!r}" for key in keys if key not in held]
    problems += [
        f"{shown}: {key!r} is a {type(held[key]).__name__}, not a list"
        for key in (*keys, "filenames")
        if key != "data" and key in held and not isinstance(held[key], list)
    ]
    if problems:
        raise UserError(*problems)
    return held


def _bytes(path: Path, shown: str) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise UserError(f"{shown} cannot be read: {error.strerror}") from error


def _text(value: bytes | str) -> str:
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else value


def _texts(values: Sequence[object], shown: str) -> tuple[str, ...]:
    texts = [_text(value) for value in values if isinstance(value, bytes | str)]
    if len(texts) < len(values):
        raise UserError(f"{shown} holds {len(values) - len(texts):,} of what is no text")
    odd = next((text for text in texts if unfit(text)), None)
    if odd is not None:
        raise UserError(f"{shown} holds {odd[:80]!r}, which is no name")
    return tuple(texts)


def _out_of_range(labels: Sequence[object], count: int, shown: str, key: str) -> list[str]:
    wrong = [
        index
        for index, label in enumerate(labels)
        if not isinstance(label, int) or not 0 <= label < count
    ]
    if not wrong:
        return []
    more = f" and {len(wrong) - 1:,} more" if len(wrong) > 1 else ""
    return [
        f"{shown}: {key} of image {wrong[0]} is {_shown(labels[wrong[0]])}{more} "
        f"(allowed: 0 to {count - 1})"
    ]


def _shown(label: object) -> str:
    plain = isinstance(label, float | bytes | str) or (
        isinstance(label, int) and abs(label) < 10**20
    )
    return repr(label)[:60] if plain else f"a {type(label).__name__}"


def _checked(names: tuple[str, ...], labels: Labels, shown: str) -> tuple[str, ...]:
    if len(names) != labels.count:
        raise UserError(f"{shown} has {len(names)} class names, not {labels.count}")
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise UserError(f"{shown} has the class name {twice[0]!r} twice")
    return names
