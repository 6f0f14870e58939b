"""Paths that a dataset's own files give, which may be wrong or may not be meant well."""

from __future__ import annotations

from pathlib import Path, PureWindowsPath

from mlfd_tune.core.data.image_files import names_in
from mlfd_tune.core.errors import nearest

__all__ = ["leaves_folder", "neighbour"]


def leaves_folder(path: str) -> bool:
    """Return whether a path is absolute or goes up, as Linux or as Windows would read it."""
    place = PureWindowsPath(path)  # knows the roots and separators of both
    return bool(place.anchor) or ".." in place.parts


def neighbour(path: Path) -> str:
    """Return a hint at what lies beside a path that does not exist, or nothing."""
    near = nearest(path.name, names_in(path.parent)) if path.parent.is_dir() else None
    return f" (did you mean {str(path.parent / near)!r}?)" if near else ""
