"""Images in files: finding a dataset's folder, hashing what is in it, opening images."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

from mlfd_tune.core.data.decode import UnreadableImageError, read_image
from mlfd_tune.core.data.raw import RawSplit
from mlfd_tune.core.errors import UserError, nearest
from mlfd_tune.core.paths import expanded, is_folder, not_a_file

if TYPE_CHECKING:
    from mlfd_tune.core.data.spec import DatasetSpec

__all__ = [
    "beside",
    "file_split",
    "files_hash",
    "folder_of",
    "names_in",
    "official_folder",
    "open_file",
    "unfit",
]

_SPACES = "\u00a0\u200c\u200d\u3000"  # not printable to Python, but part of how some scripts write


def folder_of(spec: DatasetSpec) -> Path:
    """Return the dataset's folder.

    Raises:
        UserError: It does not exist or is a file.
    """
    root = expanded(spec.path or "")
    wrong = not_a_file(root)
    if wrong == "is a folder":
        return root
    if wrong == "does not exist":
        raise UserError(f"{spec.shown} does not exist{beside(root)}")
    raise UserError(f"{spec.shown} {wrong or 'is a file, not a folder'}")


def beside(path: Path) -> str:
    """Return a hint at what lies beside a path that does not exist, or nothing."""
    try:
        near = nearest(path.name, names_in(path.parent)) if is_folder(path.parent) else None
    except UserError:  # it cannot be looked into
        return ""
    return f" (did you mean {str(path.parent / near)!r}?)" if near else ""


def official_folder(spec: DatasetSpec, folder: str, marks: Sequence[str]) -> Path:
    """Return where a published dataset lies: `path` itself, or the folder its archive unpacks to.

    Args:
        spec: The dataset.
        folder: Name of that folder below `path`.
        marks: Files or folders of which any one tells that it is the dataset's folder.

    Raises:
        UserError: There is no such folder; where nothing is found, `path` itself is returned, so
            that its source can say what is missing.
    """
    root = folder_of(spec)
    for place in (root, root / folder):
        if any((place / mark).exists() for mark in marks):
            return place
    return root / folder if (root / folder).is_dir() else root


def names_in(folder: Path) -> list[str]:
    """Return the names in a folder, sorted, hidden ones left out.

    Raises:
        UserError: The folder cannot be listed.
    """
    try:
        names = os.listdir(folder)  # noqa: PTH208 (names are wanted, not paths)
    except OSError as error:
        raise UserError(f"folder {folder} cannot be listed: {error.strerror}") from error
    return sorted(name for name in names if not name.startswith("."))


def unfit(name: str) -> str | None:
    """Return why a file or folder of a dataset cannot be used by its name; None where it can.

    Names stand in lists, messages, databases and JSON, of which a line holds one.
    """
    if all(char.isprintable() or char in _SPACES for char in name):
        return None
    return "has a name with characters that are no text; rename it"


def files_hash(root: Path, relatives: Iterable[str]) -> str:
    """Return a hash of files' relative paths and contents, wherever `root` lies.

    Raises:
        UserError: One of them cannot be read; it is named.
    """
    content = hashlib.sha256()
    for relative in sorted(relatives):
        try:
            with (root / relative).open("rb") as file:
                digest = hashlib.file_digest(file, "sha256").hexdigest()
        except OSError as error:
            raise UserError(
                f"{relative} in dataset folder {root} cannot be read: {error.strerror}"
            ) from error
        content.update(f"{relative}\0{digest}\n".encode())
    return content.hexdigest()


def file_split(root: Path, relatives: Sequence[str], labels: Sequence[int]) -> RawSplit:
    """Return a split of image files, opened on demand and named by their relative paths."""
    paths = tuple(relatives)
    numbers = np.array(labels, dtype=np.int64)
    return RawSplit(numbers, paths, lambda index: open_file(root, paths[index]))


def open_file(root: Path, relative: str) -> Image.Image:
    """Return an image file's picture as RGB.

    Raises:
        UserError: It cannot be read; the file is named.
    """
    path = root / relative
    where = f"{relative} in dataset folder {root}"
    wrong = not_a_file(path)  # once more: it may have been changed since it was listed
    if wrong:
        raise UserError(f"{where} {wrong}")
    try:
        return read_image(path)
    except UnreadableImageError as error:
        raise UserError(f"{where} {error}") from error
    except OSError as error:
        raise UserError(f"{where} cannot be read: {error.strerror}") from error
