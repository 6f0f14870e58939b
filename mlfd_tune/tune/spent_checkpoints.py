"""Checkpoints of trials that are over: they go at once.

A finished student is an artifact, and its checkpoint went when it was published. A trial that was
stopped early or failed leaves its checkpoint in the store's work folder, and no resumed run will
ask for it.
"""

from __future__ import annotations

import logging
import shutil
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NoReturn

from mlfd_tune.core.errors import UserError
from mlfd_tune.core.store import HeartbeatLock
from mlfd_tune.core.store.locks import LockOwner, guarded, read_owner
from mlfd_tune.tune.doomed import move_away
from mlfd_tune.tune.timeline import CLOCK
from mlfd_tune.tune.trial import TrialContext, TrialRequestConfig, student_of

__all__ = ["discard_checkpoint"]

log = logging.getLogger(__name__)


def discard_checkpoint(
    context: TrialContext, request: TrialRequestConfig, result: Mapping[str, Any]
) -> None:
    """Remove the checkpoint of a trial that was stopped early or failed.

    Call it before anything else can start: the worker that trained the student has reported
    `result`, waits for what is next, and holds the student's lock until then. It finds the folder
    gone and writes no last checkpoint. A student that somebody else trains by now keeps its
    checkpoint.

    The folder is renamed here, which takes no time, and deleted by a thread.

    Args:
        context: What the trials share.
        request: The trial.
        result: The last one it reported; empty where it reported none.
    """
    try:
        stage = student_of(context, request)
    except UserError:  # it failed because its settings do not fit together, and has no student
        return
    root, work = context.store.root, context.store.work_path(stage)
    if not work.is_dir():
        return
    try:
        doomed = _take(root, work, result)
    except _InUseError:
        return
    except OSError as error:  # garbage collection will see to it
        log.warning("the checkpoint in %s cannot be removed: %s", work, error.strerror)
        return
    if doomed is not None:
        threading.Thread(target=shutil.rmtree, args=(doomed, True), name="discard").start()


def _take(root: Path, work: Path, result: Mapping[str, Any]) -> Path | None:
    """Move the folder of a student away that nobody trains; return where to."""
    lock = HeartbeatLock(root / "locks" / f"{work.name}.lock")
    owner = read_owner(lock.path)
    if owner is not None and _is_worker(owner, result):
        doomed = move_away(root, work)
        # The worker keeps the lock until it begins something else, which may be never: who trains
        # the same student next would wait for it.
        with guarded(lock.path):
            if read_owner(lock.path) == owner:
                lock.path.unlink(missing_ok=True)
        return doomed
    lock.acquire(_give_up)
    try:
        return move_away(root, work)
    finally:
        lock.release()


class _InUseError(Exception):
    """Somebody trains the student."""


def _give_up(owner: LockOwner | None) -> NoReturn:
    raise _InUseError


def _is_worker(owner: LockOwner, result: Mapping[str, Any]) -> bool:
    """Tell whether a lock is held by the worker that a result is from."""
    clock = result.get(CLOCK) or {}
    return owner.pid == clock.get("pid") and owner.host.split()[0] == clock.get("host")
