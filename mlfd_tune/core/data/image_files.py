"""Images in files: finding a dataset's folder, hashing what is in it, opening images."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image, UnidentifiedImageError

from mlfd_tune.core.data.decode import to_rgb
from mlfd_tune.core.data.raw import RawSplit
from mlfd_tune.core.errors import UserError, nearest

if TYPE_CHECKING:
    from mlfd_tune.core.data.spec import DatasetSpec

__all__ = ["file_split", "files_hash", "folder_of", "names_in", "official_folder", "open_file"]


def folder_of(spec: DatasetSpec) -> Path:
    """Return the dataset's folder.

    Raises:
        UserError: It does not exist or is a file.
    """
    root = Path(spec.path or "").expanduser()
    if root.is_dir():
        return root
    if root.exists():
        raise UserError(f"{spec.shown} is a file, not a folder")
    near = nearest(root.name, names_in(root.parent)) if root.parent.is_dir() else None
    hint = f" (did you mean {str(root.parent / near)!r}?)" if near else ""
    raise UserError(f"{spec.shown} does not exist{hint}")


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
    """Return the names in a folder, sorted, hidden ones left out."""
    return sorted(path.name for path in folder.iterdir() if not path.name.startswith("."))


def files_hash(root: Path, relatives: Iterable[str]) -> str:
    """Return a hash of files' relative paths and contents, wherever `root` lies."""
    content = hashlib.sha256()
    for relative in sorted(relatives):
        with (root / relative).open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
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
    try:
        with Image.open(root / relative) as image:
            return to_rgb(image)
    except UnidentifiedImageError as error:
        raise UserError(
            f"{relative} in dataset folder {root} is not an image that can be read"
        ) from error
    except Exception as error:  # decoders raise nearly anything on damaged bytes
        raise UserError(
            f"{relative} in dataset folder {root} is a damaged image: {error}"
        ) from error
