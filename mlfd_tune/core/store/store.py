"""Get an artifact or compute it, at most once across all processes that share the folder.

Layout below the store's root::

    artifacts/<stage>/<key>/   published, immutable, with manifest.json
    work/<key>/<token>/        an unfinished stage: its checkpoint, and `out/` while it runs
    locks/<key>.lock           who is computing it
    pins/<token>.pin           what a run needs, see `pins.py`
    damaged/                   artifacts whose files did not match their manifest
"""

from __future__ import annotations

import contextlib
import logging
import os
import shutil
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

from mlfd_tune.core.errors import UserError
from mlfd_tune.core.no_space import NoSpaceError
from mlfd_tune.core.sizes import size_text
from mlfd_tune.core.store.artifact import Artifact, Signature, examine
from mlfd_tune.core.store.claim import Claim, LostClaimError
from mlfd_tune.core.store.locks import HeartbeatLock, LockOwner
from mlfd_tune.core.store.pins import Pin, add_keys
from mlfd_tune.core.store.refusals import (
    free_bytes,
    may_be_written,
    no_space,
    not_writable,
    told_plainly,
)
from mlfd_tune.core.store.stage import Progress, Stage

__all__ = ["Store"]

log = logging.getLogger(__name__)

WaitHook = Callable[[Stage, LockOwner | None], None]
_DISK_SHARE = 0.9  # of what is free on the disk; the rest is left to checkpoints and others
_ATTEMPTS = 5


class Store:
    """A folder of artifacts, named by the hash of all that went into them.

    Args:
        root: The folder; made when something is computed. May be on a shared filesystem.
        max_bytes: Published artifacts may take this much; None for no limit.

    Raises:
        UserError: The folder cannot be made.
    """

    def __init__(self, root: Path | str, max_bytes: int | None = None) -> None:
        self.root = Path(root).absolute()
        self.max_bytes = max_bytes
        self._verified: dict[str, Signature] = {}
        self._pin: Path | None = None
        self._pinned: set[str] = set()
        # Nothing is made before something is computed: a mistyped file leaves no folders behind.
        self._require_place()

    def __getstate__(self) -> dict[str, object]:
        return {**vars(self), "_verified": {}, "_pinned": set()}

    def artifact_path(self, stage: Stage) -> Path:
        """Return the folder in which the stage's artifact is or will be."""
        return self.root / "artifacts" / stage.stage_name / stage.key

    def work_path(self, stage: Stage) -> Path:
        """Return the folder in which an unfinished stage keeps its checkpoint."""
        return self.root / "work" / stage.key

    def has(self, stage: Stage) -> bool:
        """Tell whether the artifact is published, without reading its files."""
        return (self.artifact_path(stage) / "manifest.json").is_file()

    def get(self, stage: Stage) -> Artifact | None:
        """Return the stage's artifact, or None when it has to be computed.

        Checksums are verified the first time a process opens an artifact, and again where a file's
        size or time of change is another since. A damaged one is set aside under ``damaged/`` with
        a warning.

        Raises:
            UserError: The artifact may not be read.
        """
        path = self.artifact_path(stage)
        self._hold(stage.key)  # before looking, so that what is found stays
        try:
            before = path.lstat()
        except OSError:
            return None
        try:
            artifact, damage = examine(path, self._verified.get(stage.key))
        except PermissionError as error:
            raise UserError(
                f"store.path: {error.filename or path} may not be read (allowed: a store whose "
                "files can be read)"
            ) from None
        if artifact is None:
            self._verified.pop(stage.key, None)
            self._set_aside(path, before, damage)
            return None
        if stage.key not in self._verified:
            self.trust(artifact)
        with contextlib.suppress(OSError):  # a store that may only be read is still of use
            os.utime(path)  # when it was last used, for garbage collection
            if self._lock(stage).clear():  # its owner was killed just after publishing
                shutil.rmtree(self.work_path(stage), ignore_errors=True)
        return artifact

    def get_or_compute(
        self,
        stage: Stage,
        *,
        device: str = "cpu",
        progress: Progress | None = None,
        on_wait: WaitHook | None = None,
    ) -> Artifact:
        """Return the stage's artifact, computing it and what it reads where they are missing.

        Who was stopped for so long that another took the stage over gets the other's artifact.

        Args:
            stage: What to get.
            device: Torch device to compute on.
            progress: Called with fraction done and a short text.
            on_wait: Called about once a second while another process computes it.

        Raises:
            UserError: There is no room for the artifact, or the store may not be written to.
        """
        artifact = self.get(stage)
        if artifact is not None:
            return artifact
        # Where nothing is pinned for a run, what the stage reads must stay at least as long.
        with self.pin() if self._pin is None else contextlib.nullcontext():
            for attempt in range(1, _ATTEMPTS + 1):
                for below in stage.reads.values():
                    self.get_or_compute(below, device=device, progress=progress, on_wait=on_wait)
                with self.claim(stage, on_wait) as claim:
                    try:
                        return claim.artifact or claim.compute(device, progress)
                    except LostClaimError as lost:
                        if attempt == _ATTEMPTS:
                            raise
                        log.info("%s; asked for again", lost)
        raise AssertionError("unreachable")

    def claim(self, stage: Stage, on_wait: WaitHook | None = None) -> Claim:
        """Become the only one who computes the stage; wait while another process does.

        What it reads must be in the store. Release the claim, or use it as a context manager.

        Raises:
            UserError: There is no room for the artifact, or the store may not be written to.
        """
        lock, artifact = self._lock(stage), self.get(stage)
        if artifact is not None:  # no lock: the store may be one that can only be read
            return Claim(self, stage, lock, artifact)
        with told_plainly(self.root, stage.label):
            lock.acquire(None if on_wait is None else lambda owner: on_wait(stage, owner))
            try:
                return Claim(self, stage, lock, None)
            except BaseException:
                lock.release()
                raise

    @contextlib.contextmanager
    def pin(self) -> Iterator[Pin]:
        """Keep garbage collection off all that is asked for from now on until the block ends.

        That holds for this store and for copies of it that were sent to other processes since.
        """
        with Pin(self.root) as pin:
            self._pin, self._pinned = pin.path if pin.is_open else None, set()
            try:
                yield pin
            finally:
                self._pin = None

    def trust(self, artifact: Artifact) -> None:
        """Take the files of an artifact to be right as long as they look as they do now."""
        with contextlib.suppress(OSError):  # removed meanwhile
            self._verified[artifact.key] = artifact.signature()

    def used_bytes(self) -> int:
        """Return the size of all published artifacts in bytes."""
        total = 0
        for path in self.root.glob("artifacts/*/*"):
            with contextlib.suppress(OSError, ValueError):  # removed meanwhile, or damaged
                total += Artifact.open(path).manifest.bytes
        return total

    def room(self) -> int:
        """Return the bytes that more artifacts may take, by the budget and by the disk."""
        on_disk = int(free_bytes(self.root) * _DISK_SHARE)
        if self.max_bytes is None:
            return on_disk
        return max(min(self.max_bytes - self.used_bytes(), on_disk), 0)

    def require_space(self, needed: int, what: str) -> None:
        """Raise when `needed` more bytes would exceed the budget or what is free on the disk.

        Raises:
            UserError: Names the limit, what is used and what is needed.
        """
        self.require_budget(needed, what)
        if needed > free_bytes(self.root):
            raise no_space(self.root, what, needed)

    def require_budget(self, needed: int, what: str) -> None:
        """Raise when `needed` more bytes would exceed the budget.

        Raises:
            UserError: Names the budget, what is used and what is needed.
        """
        if self.max_bytes is None:
            return
        used = self.used_bytes()
        if used + needed > self.max_bytes:
            raise NoSpaceError(
                f"store.max_bytes: no space left for {what}: it needs {size_text(needed)}, and "
                f"{size_text(used)} of {size_text(self.max_bytes)} are used in {self.root}; raise "
                "store.max_bytes or free space with `mlfd-tune store gc`"
            )

    def require_writable(self, what: str) -> None:
        """Raise when `what` has to be computed and the store may only be read.

        Raises:
            UserError: Names the store.
        """
        if not may_be_written(self.root):
            raise not_writable(self.root, what)

    def _require_place(self) -> None:
        existing = next(path for path in (self.root, *self.root.parents) if path.exists())
        if not existing.is_dir():
            reason = f"{existing} is a file"
        elif existing != self.root and not os.access(existing, os.W_OK):
            reason = f"{existing} cannot be written to"
        else:
            return
        raise UserError(
            f"store.path: cannot make {self.root}: {reason} (allowed: a folder that can be "
            "written to)"
        )

    def _lock(self, stage: Stage) -> HeartbeatLock:
        return HeartbeatLock(self.root / "locks" / f"{stage.key}.lock")

    def _hold(self, key: str) -> None:
        if self._pin is not None and key not in self._pinned:
            add_keys(self._pin, [key])
            self._pinned.add(key)

    def _set_aside(self, path: Path, found: os.stat_result, reason: str) -> None:
        damaged = self.root / "damaged" / f"{path.parent.name}-{path.name}-{uuid.uuid4().hex[:8]}"
        about = (path.name[:12], path.parent.name, reason)
        try:
            if path.lstat().st_ino != found.st_ino:  # another process has put a sound one there
                return
            damaged.parent.mkdir(exist_ok=True)
            path.rename(damaged)
        except FileNotFoundError:  # another process set it aside first
            return
        except OSError as error:
            log.warning(
                "artifact %s of stage %s is damaged (%s) and not used; it cannot be set aside (%s)",
                *about,
                error.strerror,
            )
            return
        log.warning(
            "artifact %s of stage %s is damaged (%s); set aside in %s and computed anew",
            *about,
            damaged,
        )
