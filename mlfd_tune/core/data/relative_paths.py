"""Paths that a dataset's own files give, which may be wrong or may not be meant well."""

from __future__ import annotations

from pathlib import PureWindowsPath

__all__ = ["leaves_folder"]


def leaves_folder(path: str) -> bool:
    """Return whether a path is absolute or goes up, as Linux or as Windows would read it."""
    place = PureWindowsPath(path)  # knows the roots and separators of both
    return bool(place.anchor) or ".." in place.parts
