"""What a disk refuses, told to the user: it is full, or the store may only be read."""

from __future__ import annotations

import contextlib
import errno
import os
import re
import shutil
from collections.abc import Iterator
from pathlib import Path

from mlfd_tune.core.errors import UserError
from mlfd_tune.core.no_space import NoSpaceError
from mlfd_tune.core.sizes import size_text

__all__ = ["free_bytes", "may_be_written", "no_space", "not_writable", "told_plainly"]

_FULL = (errno.ENOSPC, errno.EDQUOT)
_CLOSED = (errno.EROFS, errno.EACCES, errno.EPERM)
# safetensors, numpy and torch raise errors of their own, without a number.
_FULL_TEXT = re.compile(
    r"No space left on device|Disk quota exceeded|\d+ requested and \d+ written"
    r"|basic_ios::clear: iostream error|PytorchStreamWriter failed writing"
)


@contextlib.contextmanager
def told_plainly(root: Path, what: str, needed: int = 0) -> Iterator[None]:
    """Turn what a disk refuses in the block into one line for the user.

    Args:
        root: The store's folder.
        what: What is written.
        needed: Its size in bytes, where that is known.

    Raises:
        UserError: The disk is full, or the store may not be written to.
    """
    try:
        yield
    except UserError:
        raise
    except Exception as error:
        place = _place(error, root)
        if _is_full(error):
            raise no_space(place, what, needed) from error
        if isinstance(error, OSError) and error.errno in _CLOSED and place == root:
            raise not_writable(root, what) from error
        raise


def no_space(place: Path, what: str, needed: int = 0) -> NoSpaceError:
    """Return the error that a disk has no room for something of `needed` bytes, if known."""
    size = f"it needs {size_text(needed)}, " if needed else ""
    return NoSpaceError(
        f"store.path: no space left on the disk of {place} for {what}: {size}"
        f"{size_text(free_bytes(place))} are free; make room, as with `mlfd-tune store gc`, or "
        "name another folder"
    )


def not_writable(root: Path, what: str) -> UserError:
    """Return the error that something has to be computed into a store that may only be read."""
    return UserError(
        f"store.path: {root} may only be read, and {what} would have to be computed into it "
        "(allowed: a folder that can be written to, or one that has all that is needed)"
    )


def may_be_written(root: Path) -> bool:
    """Tell whether files can be made in a folder, or the folder itself."""
    return all(
        os.access(place, os.W_OK)
        for place in (_existing(root), *(root / name for name in ("artifacts", "work", "locks")))
        if place.exists()
    )


def free_bytes(root: Path) -> int:
    """Return the bytes that are free on the disk of a folder, which need not exist."""
    return shutil.disk_usage(_existing(root)).free


def _existing(path: Path) -> Path:
    return next(place for place in (path, *path.parents) if place.exists())


def _is_full(error: BaseException) -> bool:
    seen: set[int] = set()
    current: BaseException | None = error
    while current is not None and id(current) not in seen:
        if isinstance(current, OSError) and current.errno in _FULL:
            return True
        if _FULL_TEXT.search(str(current)):
            return True
        seen.add(id(current))
        current = current.__cause__ or current.__context__
    return False


def _place(error: Exception, root: Path) -> Path:
    """Return the folder that an error is about: the store, unless it names a file elsewhere."""
    named = error.filename if isinstance(error, OSError) else None
    if not isinstance(named, str | bytes):
        return root
    file = Path(os.fsdecode(named)).absolute()
    return root if file.is_relative_to(root) else file.parent
