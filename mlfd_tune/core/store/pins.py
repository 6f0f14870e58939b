"""Pins: which artifacts a run needs, so that garbage collection leaves them alone.

A run has one file ``pins/<token>.pin``: its owner in the first line, as in a lock, then keys. Every
process that works for the run adds the keys that it looks for before it looks. So whatever the run
has found is pinned, and stays so until the run ends. A pin counts as long as its owner lives; on
another host, for `LASTS_S` after its last heartbeat.
"""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from types import TracebackType

from mlfd_tune.core.store.locks import guarded
from mlfd_tune.core.store.owners import Heartbeat, LockOwner, idle_since, read_owner

__all__ = ["Pin", "add_keys", "decided", "expired_pins", "pinned_keys"]

LASTS_S = 86400.0


class Pin:
    """Keeps artifacts from being removed, from when it is opened until it is closed.

    Use it as a context manager. In a store that may only be read it does nothing.

    Args:
        root: The store's folder.
    """

    def __init__(self, root: Path) -> None:
        owner = LockOwner.this_process()
        self.path = root / "pins" / f"{owner.token}.pin"
        self._heartbeat: Heartbeat | None = None
        with contextlib.suppress(OSError):
            self.path.parent.mkdir(parents=True, exist_ok=True)
            descriptor = os.open(self.path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o666)
            try:
                owner.sign(descriptor)
            finally:
                os.close(descriptor)
            self._heartbeat = Heartbeat(self.path, owner.token)

    @property
    def is_open(self) -> bool:
        """Whether it keeps anything; not so in a store that may only be read."""
        return self._heartbeat is not None

    def add(self, keys: Iterable[str]) -> None:
        """Pin artifacts, whether they are there already or not."""
        add_keys(self.path, keys)

    def close(self) -> None:
        """Let all go."""
        if self._heartbeat is None:
            return
        self._heartbeat.stop()
        with contextlib.suppress(OSError):
            self.path.unlink(missing_ok=True)

    def __enter__(self) -> Pin:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()


def add_keys(path: Path, keys: Iterable[str]) -> None:
    """Add keys to a pin that is still open; any process may."""
    # A new line before each: one that was cut off by a full disk is no part of the next.
    lines = "".join(f"\n{key}" for key in keys).encode()
    with contextlib.suppress(OSError), decided(path.parents[1]):
        descriptor = os.open(path, os.O_WRONLY | os.O_APPEND)
        try:
            os.write(descriptor, lines)
        finally:
            os.close(descriptor)


def pinned_keys(root: Path) -> set[str]:
    """Return the keys that somebody needs who lives, as far as can be told."""
    keys: set[str] = set()
    for path in root.glob("pins/*.pin"):
        if not _is_over(path):
            with contextlib.suppress(OSError):
                _, *lines = path.read_text(errors="replace").split("\n")
                keys.update(filter(None, lines))
    return keys


def expired_pins(root: Path) -> list[Path]:
    """Return the pins whose owners are gone."""
    return [path for path in root.glob("pins/*.pin") if _is_over(path)]


@contextlib.contextmanager
def decided(root: Path) -> Iterator[None]:
    """Pin something, or look at pins and remove what is not pinned: one after the other."""
    with guarded(root / "pins" / "all"):
        yield


def _is_over(path: Path) -> bool:
    owner = read_owner(path)
    fate = "unknown" if owner is None else owner.fate()
    if fate == "unknown":
        touched = idle_since(path)
        return touched is None or time.time() - touched > LASTS_S
    return fate == "dead"
