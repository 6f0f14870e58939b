"""A worker's clock: when and where it did a piece of work, and how much of that was waiting."""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Callable
from dataclasses import asdict
from typing import Any

from mlfd_tune.core.store import Artifact, Claim, Stage, Store
from mlfd_tune.core.store.locks import LockOwner
from mlfd_tune.tune.timeline import Part

__all__ = ["WorkClock"]


class WorkClock:
    """Made by a worker when it begins something; tells what a span's times are.

    Args:
        on_wait: Called about once a second while it waits for the work of another process.
    """

    def __init__(self, on_wait: Callable[[], None] = lambda: None) -> None:
        self._on_wait = on_wait
        self._start = time.time()
        self._waiting_since: float | None = None
        self._parts: list[Part] = []

    def get(self, store: Store, stage: Stage, device: str) -> Artifact:
        """Return a stage's artifact as `Store.get_or_compute` does, noting what that took."""
        began = time.time()
        artifact = store.get_or_compute(stage, device=device, on_wait=self._wait)
        waited = self._end_wait(stage)
        if not waited and artifact.manifest.created >= began:
            self._parts.append(Part(stage.stage_name, stage.label, began, time.time()))
        return artifact

    def claim(self, store: Store, stage: Stage) -> Claim:
        """Return the claim of a stage as `Store.claim` does, noting how long that took."""
        claim = store.claim(stage, self._wait)
        self._end_wait(stage)
        return claim

    def stamp(self) -> dict[str, Any]:
        """Return what only the worker knows of a span that lasts until now, as plain values."""
        return {
            "host": socket.gethostname(),
            "pid": os.getpid(),
            "start": self._start,
            "end": time.time(),
            "parts": [asdict(part) for part in self._parts],
        }

    def _wait(self, stage: Stage, owner: LockOwner | None) -> None:
        self._on_wait()
        if self._waiting_since is None:
            self._waiting_since = time.time()

    def _end_wait(self, stage: Stage) -> bool:
        since, self._waiting_since = self._waiting_since, None
        if since is None:
            return False
        self._parts.append(Part("waiting", stage.label, since, time.time()))
        return True
