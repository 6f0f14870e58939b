"""A lock file with an owner and a heartbeat, safe across processes and nodes on a shared folder.

`flock` does not cross every network filesystem and tells a waiter nothing about the owner. Here the
lock is a file made with O_EXCL that names its owner; the owner touches it every few seconds. A lock
whose owner is dead (same host: the process is gone; another host: no heartbeat for a while, by the
waiter's own clock, so clocks need not agree) is taken over.
"""

from __future__ import annotations

import contextlib
import json
import os
import platform
import threading
import time
import uuid
from collections.abc import Callable
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path

import psutil
from filelock import FileLock

__all__ = ["HeartbeatLock", "LockOwner"]

HEARTBEAT_S = 2.0
DEAD_AFTER_S = 30.0
POLL_S = 0.1


@dataclass(frozen=True)
class LockOwner:
    """Who holds a lock: host, process id, process start time (Unix seconds) and a unique token."""

    host: str
    pid: int
    started: float
    token: str

    def is_dead(self) -> bool:
        """Tell whether the owner is certainly gone. Only knowable on the owner's own host."""
        if self.host != _host():
            return False
        try:
            return bool(abs(psutil.Process(self.pid).create_time() - self.started) > 1.0)
        except psutil.NoSuchProcess:
            return True


class HeartbeatLock:
    """An exclusive lock on a path.

    Args:
        path: The lock file.
        dead_after: Seconds without a heartbeat after which an owner on another host is given up.
    """

    def __init__(self, path: Path, dead_after: float = DEAD_AFTER_S) -> None:
        self.path = path
        self.dead_after = dead_after
        self._token: str | None = None
        self._stop = threading.Event()
        # Deciding that a lock is dead and removing it must be one step among all waiters.
        self._guard = FileLock(str(path) + ".guard")

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
            owner, beat, now = read_owner(self.path), _mtime(self.path), time.monotonic()
            if beat != last_beat:
                last_beat, seen_at = beat, now
            if (owner is not None and owner.is_dead()) or now - seen_at > self.dead_after:
                self._remove_dead(owner, beat)
                continue
            if on_wait is not None and now - told_at >= 1.0:
                told_at = now
                on_wait(owner)
            time.sleep(POLL_S)
        threading.Thread(target=self._beat, name="store-heartbeat", daemon=True).start()

    def release(self) -> None:
        """Give the lock back. Does nothing when it is not held."""
        self._stop.set()
        with self._guard:
            if self.held:
                self.path.unlink(missing_ok=True)
        self._token = None

    def _try_create(self) -> bool:
        try:
            descriptor = os.open(self.path, os.O_CREAT | os.O_EXCL | os.O_WRONLY)
        except FileExistsError:
            return False
        self._token = uuid.uuid4().hex
        owner = LockOwner(_host(), os.getpid(), _started(), self._token)
        with os.fdopen(descriptor, "w") as file:
            json.dump(asdict(owner), file)
        self._stop = threading.Event()
        return True

    def _remove_dead(self, owner: LockOwner | None, beat: float | None) -> None:
        with self._guard:
            # Another waiter may have taken it over since we looked.
            if read_owner(self.path) == owner and _mtime(self.path) == beat:
                self.path.unlink(missing_ok=True)

    def _beat(self) -> None:
        stop = self._stop
        while not stop.wait(HEARTBEAT_S):
            with contextlib.suppress(OSError):
                os.utime(self.path)


def read_owner(path: Path) -> LockOwner | None:
    """Return who holds the lock at `path`, or None when free or not yet written."""
    try:
        return LockOwner(**json.loads(path.read_text()))
    except (OSError, ValueError, TypeError):
        return None


def _mtime(path: Path) -> float | None:
    try:
        return path.stat().st_mtime
    except OSError:
        return None


@cache
def _host() -> str:
    # Process ids mean something only inside one pid namespace: containers may share a host name.
    try:
        namespace = str(Path("/proc/self/ns/pid").readlink())
    except OSError:
        namespace = ""
    return f"{platform.node()} {namespace}".strip()


@cache
def _started() -> float:
    return float(psutil.Process().create_time())
