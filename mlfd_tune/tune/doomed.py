"""Removing folders of a store: out of sight in one step, then off the disk.

A reader finds all of an artifact or nothing of it, and a process that dies in between leaves its
rest where garbage collection looks for it.
"""

from __future__ import annotations

import shutil
import uuid
from collections.abc import Iterator
from pathlib import Path
from stat import S_ISREG

__all__ = ["doomed_of", "folder_bytes", "move_away", "remove"]

_PREFIX = "removed-"


def move_away(root: Path, path: Path) -> Path | None:
    """Take a folder of the store in `root` out of sight; return where it is to be deleted.

    Returns:
        None where there was no such folder any more.
    """
    doomed = root / "damaged" / f"{_PREFIX}{path.name}-{uuid.uuid4().hex[:8]}"
    doomed.parent.mkdir(parents=True, exist_ok=True)
    try:
        path.rename(doomed)
    except FileNotFoundError:
        return None
    return doomed


def remove(root: Path, path: Path) -> None:
    """Remove a folder of the store in `root`."""
    doomed = move_away(root, path)
    if doomed is not None:
        shutil.rmtree(doomed, ignore_errors=True)


def doomed_of(root: Path, key: str) -> Iterator[Path]:
    """Yield what was taken out of sight under a key and is on the disk yet."""
    yield from (root / "damaged").glob(f"{_PREFIX}{key}-*")


def folder_bytes(path: Path) -> int:
    """Return the bytes of a folder's files; of those that go meanwhile, some or none."""
    total = 0
    for file in path.rglob("*"):
        try:
            stat = file.lstat()
        except OSError:  # removed meanwhile
            continue
        if S_ISREG(stat.st_mode):
            total += stat.st_size
    return total
