"""Writing the files of an export: all of them or none."""

from __future__ import annotations

import fcntl
import json
import os
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from mlfd_tune.core.errors import UserError
from mlfd_tune.core.stages.model_files import ABOUT

__all__ = ["staged", "write_weights"]

_LENGTH = 8  # bytes of a safetensors file that hold the length of its header
_COPIED = 1 << 24
_PREFIX = ".export-"


@contextmanager
def staged(folder: Path) -> Iterator[Path]:
    """Give an empty folder whose files are moved to `folder` at the end, if all went well.

    It lies in `folder`, so that moving a file is renaming it: a reader sees the old one or the new
    one. Where something fails, nothing is left, `folder` included if it was not there before.

    Raises:
        UserError: `folder` cannot be written.
    """
    made = [path for path in (folder, *folder.parents) if not path.exists()]
    try:
        folder.mkdir(parents=True, exist_ok=True)
        _remove_what_the_dead_left(folder)
        temporary = Path(tempfile.mkdtemp(prefix=_PREFIX, dir=folder))
        lock = _lock(temporary)
    except OSError as error:
        raise UserError(f"{folder} cannot be written: {error.strerror}") from error
    try:
        yield temporary
        for file in sorted(temporary.iterdir()):
            file.replace(folder / file.name)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
        os.close(lock)
        for path in made:
            with suppress(OSError):  # it holds the export
                path.rmdir()


def _remove_what_the_dead_left(folder: Path) -> None:
    """Remove the folders of exports that were killed; a living one holds a lock on its own."""
    for left in folder.glob(f"{_PREFIX}*"):
        with suppress(OSError):
            lock = _lock(left)
            shutil.rmtree(left, ignore_errors=True)
            os.close(lock)


def _lock(folder: Path) -> int:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(descriptor)
        raise
    return descriptor


def write_weights(source: Path, about: Mapping[str, Any], target: Path) -> None:
    """Copy a safetensors file, with what its network is written into its metadata.

    The header is written here because the safetensors library orders metadata anew every time: one
    network is to have one checksum.

    Args:
        source: The store's file.
        about: What `load_backbone` needs beside the weights, and more; JSON types.
        target: The file to write.
    """
    with source.open("rb") as file, target.open("wb") as out:
        length = int.from_bytes(file.read(_LENGTH), "little")
        header = json.loads(file.read(length))
        text = json.dumps(about, sort_keys=True, ensure_ascii=False)
        header["__metadata__"] = {"format": "pt", ABOUT: text}
        data = json.dumps(header, separators=(",", ":"), ensure_ascii=False).encode()
        data += b" " * (-len(data) % 8)  # tensors begin where a multiple of 8 bytes ends
        out.write(len(data).to_bytes(_LENGTH, "little"))
        out.write(data)
        shutil.copyfileobj(file, out, _COPIED)
