"""Files of the store: written whole or not at all, forced to disk, and told apart from links."""

from __future__ import annotations

import contextlib
import hashlib
import os
import uuid
from pathlib import Path
from stat import S_ISREG

__all__ = ["contents", "file_digest", "force_to_disk", "is_plain_file", "write_atomically"]

_BLOCK = 1 << 20


def file_digest(path: Path) -> str:
    """Return the sha256 of a file as hex digits."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(_BLOCK):
            digest.update(block)
    return digest.hexdigest()


def write_atomically(path: Path, data: bytes) -> None:
    """Write a file so that a reader or a crash sees the old content or the new, never half.

    Where it cannot be written, such as on a full disk, the old content stays and nothing else is
    left behind.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}-{uuid.uuid4().hex[:8]}.tmp")
    try:
        with temporary.open("wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except BaseException:
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)
        raise


def force_to_disk(path: Path) -> None:
    """Force a file's content, or a folder's list of names, to disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def contents(folder: Path) -> dict[str, os.stat_result]:
    """Return all below a folder that is no folder itself, by its name with ``/``.

    Links are not followed: they are content, also those to folders.
    """
    found = {}
    waiting = [folder]
    while waiting:
        with os.scandir(waiting.pop()) as entries:
            for entry in entries:
                if entry.is_dir(follow_symlinks=False):
                    waiting.append(Path(entry.path))
                else:
                    name = Path(entry.path).relative_to(folder).as_posix()
                    found[name] = entry.stat(follow_symlinks=False)
    return found


def is_plain_file(status: os.stat_result) -> bool:
    """Tell whether it is a file, and no link, pipe or device."""
    return S_ISREG(status.st_mode)
