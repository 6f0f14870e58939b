"""Who holds a lock or a pin, whether that process lives, and its heartbeat.

The file names its owner in its first line; the owner touches it every few seconds.
"""

from __future__ import annotations

import contextlib
import json
import os
import platform
import threading
import uuid
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path
from typing import Literal

import psutil

__all__ = ["Heartbeat", "LockOwner", "idle_since", "read_owner"]

HEARTBEAT_S = 2.0

Fate = Literal["alive", "frozen", "dead", "unknown"]


@dataclass(frozen=True)
class LockOwner:
    """Who holds a lock: host, process id, process start time (Unix seconds) and a unique token."""

    host: str
    pid: int
    started: float
    token: str

    @classmethod
    def this_process(cls) -> LockOwner:
        """Return this process with a token that nobody had before."""
        return cls(_host(), os.getpid(), _started(), uuid.uuid4().hex)

    def is_dead(self) -> bool:
        """Tell whether the owner is certainly gone. Only knowable on the owner's own host."""
        return self.fate() == "dead"

    def is_alive(self) -> bool:
        """Tell whether the owner certainly lives, if stopped. Only knowable on its own host."""
        return self.fate() in ("alive", "frozen")

    def fate(self) -> Fate:
        """Return what became of the owner; ``frozen`` is one that was stopped, as by SIGSTOP."""
        if self.host != _host():
            return "unknown"
        try:
            process = psutil.Process(self.pid)
            status = process.status()
            # A killed process that nobody waits for, as in a container without an init, stays on
            # as a zombie.
            if status in (psutil.STATUS_ZOMBIE, psutil.STATUS_DEAD):
                return "dead"
            started = process.create_time()
        except psutil.NoSuchProcess:
            return "dead"
        except psutil.AccessDenied:
            return "unknown"
        # Another start time: the process id was given out again, or the system clock was set,
        # which moves all start times. The heartbeat tells which.
        if abs(started - self.started) >= 1.0:
            return "unknown"
        frozen = status in (psutil.STATUS_STOPPED, psutil.STATUS_TRACING_STOP)
        return "frozen" if frozen else "alive"

    def sign(self, descriptor: int) -> None:
        """Write the owner into a file, as `read_owner` reads it."""
        os.write(descriptor, json.dumps(asdict(self)).encode() + b"\n")


class Heartbeat:
    """Touches a file until it is stopped or the file is another's."""

    def __init__(self, path: Path, token: str) -> None:
        self._path, self._token = path, token
        self._stop = threading.Event()
        threading.Thread(target=self._beat, name="store-heartbeat", daemon=True).start()

    def stop(self) -> None:
        """Let the file be."""
        self._stop.set()

    def _beat(self) -> None:
        while not self._stop.wait(HEARTBEAT_S):
            owner = read_owner(self._path)
            if owner is not None and owner.token != self._token:
                return  # taken over: a beat would keep the new owner's lock alive after its death
            with contextlib.suppress(OSError):
                os.utime(self._path)


def read_owner(path: Path) -> LockOwner | None:
    """Return who holds the lock or pin at `path`, or None when free or not yet written."""
    try:
        with path.open("rb") as file:
            return LockOwner(**json.loads(file.readline()))
    except (OSError, ValueError, TypeError, RecursionError):
        return None


def idle_since(path: Path) -> float | None:
    """Return when a file was last touched (Unix seconds), or None where there is none."""
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
