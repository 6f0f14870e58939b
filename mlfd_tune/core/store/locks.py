"""A lock file with an owner and a heartbeat, safe across processes and nodes on a shared folder.

`flock` does not cross every network filesystem and tells a waiter nothing about the owner. Here the
lock is a file made with O_EXCL that names its owner; the owner touches it every few seconds. A lock
whose owner is dead is taken over: at once where the owner ran on this host and its process is gone,
else after a while without a heartbeat, by the waiter's own clock, so that clocks need not agree. An
owner that is seen to live on this host keeps its lock, however long its heartbeat is held up.
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
from typing import Literal

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
        return self._fate() == "dead"

    def is_alive(self) -> bool:
        """Tell whether the owner certainly lives. Only knowable on the owner's own host."""
        return self._fate() == "alive"

    def _fate(self) -> Literal["alive", "dead", "unknown"]:
        if self.host != _host():
            return "unknown"
        try:
            process = psutil.Process(self.pid)
            # A killed process that nobody waits for, as in a container without an init, stays on
            # as a zombie.
            if process.status() in (psutil.STATUS_ZOMBIE, psutil.STATUS_DEAD):
                return "dead"
            started = process.create_time()
        except psutil.NoSuchProcess:
            return "dead"
        except psutil.AccessDenied:
            return "unknown"
        # Another start time: the process id was given out again, or the system clock was set,
        # which moves all start times. The heartbeat tells which.
        return "alive" if abs(started - self.started) < 1.0 else "unknown"


class HeartbeatLock:
    """An exclusive lock on a path.

    Args:
        path: The lock file.
        dead_after: Seconds without a heartbeat after which an owner that cannot be looked at, such
            as one on another host, is given up.
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
            if self._is_abandoned(owner, silent_s=now - seen_at):
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

    def _is_abandoned(self, owner: LockOwner | None, silent_s: float) -> bool:
        if owner is not None and owner.is_dead():
            return True
        alive = owner is not None and owner.is_alive()
        return silent_s > self.dead_after and not alive

    def _remove_dead(self, owner: LockOwner | None, beat: float | None) -> None:
        with self._guard:
            # Another waiter may have taken it over since we looked.
            if read_owner(self.path) == owner and _mtime(self.path) == beat:
                self.path.unlink(missing_ok=True)

    def _beat(self) -> None:
        stop = self._stop
        while not stop.wait(HEARTBEAT_S):
            owner = read_owner(self.path)
            if owner is not None and owner.token != self._token:
                return  # taken over: a beat would keep the new owner's lock alive after its death
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
    # Process ids mean something only inside one pid namespace of one boot of one machine, and
    # machines or containers may share a host name.
    identity = [platform.node()]
    with contextlib.suppress(OSError):
        identity.append(Path("/proc/sys/kernel/random/boot_id").read_text().strip())
        identity.append(str(Path("/proc/self/ns/pid").readlink()))
    return " ".join(identity)


@cache
def _started() -> float:
    return float(psutil.Process().create_time())
