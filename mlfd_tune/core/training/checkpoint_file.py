"""The file of a training's checkpoint: written whole or not at all, within the room there is.

A checkpoint is an insurance. Where it cannot be written, because the disk is full or because a
limit leaves no room, the training goes on without, and what was on disk before stays.
"""

from __future__ import annotations

import errno
import os
import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any, BinaryIO

import torch

from mlfd_tune.core.sizes import size_text

__all__ = ["CHECKPOINT", "NoRoomError", "Room", "any_room", "checkpoint_bytes", "write_checkpoint"]

CHECKPOINT = "checkpoint.pt"

_BASE = 4096  # the archive's own records
_ENTRY = 1024  # a tensor's header, padding, place in the directory and description
_NUMBER = 64  # any other value


class NoRoomError(Exception):
    """A limit leaves no room for a checkpoint; the message says which, and how much is needed."""


Room = Callable[[int], AbstractContextManager[None]]
"""Holds room for so many bytes while they are written.

Raises `NoRoomError` where there is not so much.
"""


def any_room(needed: int) -> AbstractContextManager[None]:
    """Hold room for anything: there is no limit but the disk."""
    return nullcontext()


def checkpoint_bytes(state: Mapping[str, Any]) -> int:
    """Return a bound on the size of the file that `write_checkpoint` writes."""
    return _BASE + sum(map(_value_bytes, _values(state)))


def write_checkpoint(state: Mapping[str, Any], folder: Path, needed: int) -> None:
    """Write a checkpoint, replacing the one before by one atomic rename.

    Args:
        state: What `torch.load` is to return.
        folder: Where to.
        needed: Bound on its size in bytes.

    Raises:
        OSError: It could not be written; there is no more in the folder than before.
    """
    # Filling the disk only to find that out would take from others what they need.
    free = shutil.disk_usage(folder).free
    if free < needed:
        text = f"the disk is full: it needs {size_text(needed)}, and {size_text(free)} are free"
        raise OSError(errno.ENOSPC, text, str(folder))
    temporary = folder / f".{CHECKPOINT}.{os.getpid()}.tmp"
    try:
        with temporary.open("wb") as file:
            _save(state, file)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(folder / CHECKPOINT)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def _save(state: Mapping[str, Any], file: BinaryIO) -> None:
    sink = _Sink(file)
    try:
        torch.save(state, sink)  # type: ignore[arg-type]  # it calls nothing but these two
    except RuntimeError:  # torch's own, in place of what the file said
        if sink.error is None:
            raise
        raise sink.error from None


class _Sink:
    """Keeps in mind why a file could not be written to."""

    def __init__(self, file: BinaryIO) -> None:
        self.error: OSError | None = None
        self._file = file

    def write(self, data: bytes) -> int:
        try:
            return self._file.write(data)
        except OSError as error:
            self.error = error
            raise

    def flush(self) -> None:
        self._file.flush()


def _values(node: object) -> Iterator[object]:
    if isinstance(node, Mapping):
        yield from node  # names count, too
        node = list(node.values())
    if isinstance(node, (list, tuple)):
        for value in node:
            yield from _values(value)
    else:
        yield node


def _value_bytes(value: object) -> int:
    if isinstance(value, torch.Tensor):
        # All of its storage is written, which it may share with others.
        return _ENTRY + value.untyped_storage().nbytes()
    if isinstance(value, str):
        return _NUMBER + len(value.encode())
    return _NUMBER
