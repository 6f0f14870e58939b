"""A lock file with an owner and a heartbeat, safe across processes and nodes on a shared folder.

`flock` does not cross every network filesystem and tells a waiter nothing about the owner. Here the
lock is a file made with O_EXCL that names its owner; the owner touches it every few seconds. It is
taken over from an owner that is

* dead, at once, where it ran on this host and its process is gone;
* stopped (SIGSTOP), or on another host, after `DEAD_AFTER_S` without a heartbeat;
* seen to live on this host, after `FROZEN_AFTER_S` without one: it may only be busy.

All by the waiter's own clock, so that clocks need not agree. An owner that comes back to life finds
out by `HeartbeatLock.held`; what it does before it looks can do no harm (see `claim.py`).
"""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from filelock import FileLock, Timeout

from mlfd_tune.core.store.owners import Heartbeat, LockOwner, idle_since, read_owner

__all__ = ["HeartbeatLock", "LockOwner", "guarded", "read_owner"]

DEAD_AFTER_S = 30.0
FROZEN_AFTER_S = 600.0
POLL_S = 0.1
_GUARD_S = 10.0


class HeartbeatLock:
    """An exclusive lock on a path.

    Args:
        path: The lock file.
        dead_after: Seconds without a heartbeat after which an owner that is stopped, or that cannot
            be looked at, such as one on another host, is given up.
        frozen_after: The same of one that is seen to live.
    """

    def __init__(
        self,
        path: Path,
        dead_after: float = DEAD_AFTER_S,
        frozen_after: float = FROZEN_AFTER_S,
    ) -> None:
        self.path = path
        self.dead_after = dead_after
        self.frozen_after = frozen_after
        self._token: str | None = None
        self._heartbeat: Heartbeat | None = None

    @property
    def token(self) -> str:
        """What nobody else who held or will hold the lock has."""
        assert self._token is not None, "it was never acquired"
        return self._token

    @property
    def held(self) -> bool:
        """Whether this object holds the lock, and nobody took it over."""
        owner = read_owner(self.path)
        return self._token is not None and owner is not None and owner.token == self._token

    def acquire(self, on_wait: Callable[[LockOwner | None], None] | None = None) -> None:
        """Wait until the lock is ours.

        Args:
            on_wait: Called about once a second with the owner that is waited for.
        """
        self.path.parent.mkdir(parents=True, exist_ok=True)
        last_beat, seen_at, told_at = None, time.monotonic(), 0.0
        while not self._try_create():
            owner, beat, now = read_owner(self.path), idle_since(self.path), time.monotonic()
            if beat != last_beat:
                last_beat, seen_at = beat, now
            if self._is_abandoned(owner, silent_s=now - seen_at):
                self._remove_dead(owner, beat)
                continue
            if on_wait is not None and now - told_at >= 1.0:
                told_at = now
                on_wait(owner)
            time.sleep(POLL_S)
        self._heartbeat = Heartbeat(self.path, self.token)

    def release(self) -> None:
        """Give the lock back. Does nothing when it is not held."""
        if self._heartbeat is None:
            return
        self._heartbeat.stop()
        with guarded(self.path):
            if self.held:
                self.path.unlink(missing_ok=True)
        self._token = self._heartbeat = None

    def clear(self) -> bool:
        """Remove the lock of an owner that is certainly dead; return whether there was one."""
        owner, beat = read_owner(self.path), idle_since(self.path)
        if owner is None or not owner.is_dead():
            return False
        self._remove_dead(owner, beat)
        return True

    def _try_create(self) -> bool:
        try:
            descriptor = os.open(self.path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o666)
        except FileExistsError:
            return False
        owner = LockOwner.this_process()
        try:
            owner.sign(descriptor)
        except OSError:  # on a full disk an empty file can still be made
            self.path.unlink(missing_ok=True)
            raise
        finally:
            os.close(descriptor)
        self._token = owner.token
        return True

    def _is_abandoned(self, owner: LockOwner | None, silent_s: float) -> bool:
        fate = "unknown" if owner is None else owner.fate()
        if fate == "dead":
            return True
        return silent_s > (self.frozen_after if fate == "alive" else self.dead_after)

    def _remove_dead(self, owner: LockOwner | None, beat: float | None) -> None:
        with guarded(self.path):
            # Another waiter may have taken it over since we looked.
            if read_owner(self.path) == owner and idle_since(self.path) == beat:
                self.path.unlink(missing_ok=True)


@contextlib.contextmanager
def guarded(path: Path) -> Iterator[None]:
    """Make a decision about a file, and the deed, one step among all who decide about it.

    Nobody takes longer than a moment, unless it was stopped in the middle of it. Then the others go
    on without: a stage may be computed twice, but nothing else can happen (see `claim.py`).
    """
    guard = FileLock(f"{path}.guard")
    try:
        guard.acquire(timeout=_GUARD_S)
    except Timeout:
        yield
        return
    try:
        yield
    finally:
        guard.release()
