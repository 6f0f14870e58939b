"""Get an artifact or compute it, at most once across all processes that share the folder.

Layout below the store's root::

    artifacts/<stage>/<key>/   published, immutable, with manifest.json
    work/<key>/                an unfinished stage: its checkpoint, and `out/` while it runs
    locks/<key>.lock           who is computing it
    damaged/                   artifacts whose files did not match their manifest
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
import shutil
import time
import uuid
from collections.abc import Callable
from pathlib import Path
from types import TracebackType

from mlfd_tune.core.errors import UserError
from mlfd_tune.core.sizes import size_text
from mlfd_tune.core.store.artifact import (
    Artifact,
    Manifest,
    describe_files,
    library_versions,
    write_atomically,
    write_manifest,
)
from mlfd_tune.core.store.locks import HeartbeatLock, LockOwner
from mlfd_tune.core.store.stage import Progress, Stage, StageContext, StageResult

__all__ = ["Claim", "Store"]

log = logging.getLogger(__name__)

WaitHook = Callable[[Stage, LockOwner | None], None]
_SPENT = "seconds.json"
_DISK_SHARE = 0.9  # of what is free on the disk; the rest is left to checkpoints and others


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
        self._verified: set[str] = set()
        # Nothing is made before something is computed: a mistyped file leaves no folders behind.
        self._require_place()

    def __getstate__(self) -> dict[str, object]:
        return {"root": self.root, "max_bytes": self.max_bytes, "_verified": set()}

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

        Checksums are verified the first time a process opens an artifact. A damaged one is set
        aside under ``damaged/`` with a warning.
        """
        path = self.artifact_path(stage)
        if not path.exists():
            return None
        artifact, damage = self._read(path, stage.key)
        if artifact is None:
            self._set_aside(path, damage)
            return None
        with contextlib.suppress(OSError):  # a store that may only be read is still of use
            os.utime(path)  # when it was last used, for garbage collection
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

        Args:
            stage: What to get.
            device: Torch device to compute on.
            progress: Called with fraction done and a short text.
            on_wait: Called about once a second while another process computes it.

        Raises:
            UserError: The artifact would not fit into the store's budget.
        """
        artifact = self.get(stage)
        if artifact is not None:
            return artifact
        for below in stage.reads.values():
            self.get_or_compute(below, device=device, progress=progress, on_wait=on_wait)
        with self.claim(stage, on_wait) as claim:
            if claim.artifact is None:
                context = claim.context(device, progress)
                claim.publish(stage.run(context))
            assert claim.artifact is not None
            return claim.artifact

    def claim(self, stage: Stage, on_wait: WaitHook | None = None) -> Claim:
        """Become the only one who computes the stage; wait while another process does.

        What it reads must be in the store. Release the claim, or use it as a context manager.
        """
        lock = HeartbeatLock(self.root / "locks" / f"{stage.key}.lock")
        lock.acquire(None if on_wait is None else lambda owner: on_wait(stage, owner))
        try:
            return Claim(self, stage, lock, self.get(stage))
        except BaseException:
            lock.release()
            raise

    def used_bytes(self) -> int:
        """Return the size of all published artifacts in bytes."""
        total = 0
        for path in self.root.glob("artifacts/*/*"):
            with contextlib.suppress(OSError, ValueError):  # removed meanwhile, or damaged
                total += Artifact.open(path).manifest.bytes
        return total

    def room(self) -> int:
        """Return the bytes that more artifacts may take, by the budget and by the disk."""
        place = next(path for path in (self.root, *self.root.parents) if path.exists())
        on_disk = int(shutil.disk_usage(place).free * _DISK_SHARE)
        if self.max_bytes is None:
            return on_disk
        return max(min(self.max_bytes - self.used_bytes(), on_disk), 0)

    def require_space(self, needed: int, what: str) -> None:
        """Raise when `needed` more bytes would exceed the budget.

        Raises:
            UserError: Names the budget, what is used and what is needed.
        """
        if self.max_bytes is None:
            return
        used = self.used_bytes()
        if used + needed > self.max_bytes:
            raise UserError(
                f"store.max_bytes: no space left for {what}: it needs {size_text(needed)}, and "
                f"{size_text(used)} of {size_text(self.max_bytes)} are used in {self.root}; raise "
                "store.max_bytes or free space with `mlfd-tune store gc`"
            )

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

    def _read(self, path: Path, key: str) -> tuple[Artifact | None, str]:
        """Return the artifact in `path`, or None and what is wrong with it."""
        try:
            artifact = Artifact.open(path)
        except FileNotFoundError:
            return None, "it has no manifest"
        except ValueError:
            return None, "its manifest cannot be read"
        if artifact.key != key:
            return None, f"its manifest is that of {artifact.key[:12]}"
        if key not in self._verified:
            damage = artifact.damage()
            if damage:
                return None, damage
            self._verified.add(key)
        return artifact, ""

    def _set_aside(self, path: Path, reason: str) -> None:
        damaged = self.root / "damaged" / f"{path.parent.name}-{path.name}-{uuid.uuid4().hex[:8]}"
        damaged.parent.mkdir(exist_ok=True)
        try:
            path.rename(damaged)
        except FileNotFoundError:  # another process set it aside first
            return
        log.warning(
            "artifact %s of stage %s is damaged (%s); set aside in %s and computed anew",
            path.name[:12],
            path.parent.name,
            reason,
            damaged,
        )


class Claim:
    """The right to compute one stage.

    Attributes:
        artifact: The published artifact, if there is one (then there is nothing to compute).
    """

    def __init__(
        self, store: Store, stage: Stage, lock: HeartbeatLock, artifact: Artifact | None
    ) -> None:
        self.store = store
        self.stage = stage
        self.artifact = artifact
        self._lock = lock
        self._started = time.monotonic()
        if artifact is None:
            store.require_space(stage.estimate_bytes(), stage.label)
            self.work.mkdir(parents=True, exist_ok=True)

    @property
    def work(self) -> Path:
        """Folder for checkpoints: it outlives a dead owner, and goes when the stage is done."""
        return self.store.work_path(self.stage)

    def context(self, device: str, progress: Progress | None = None) -> StageContext:
        """Return what the stage's `run` needs, with an empty output folder.

        Raises:
            LookupError: An artifact that it reads is not in the store.
        """
        inputs = {}
        for name, below in self.stage.reads.items():
            artifact = self.store.get(below)
            if artifact is None:
                raise LookupError(f"{self.stage.label} needs {below.label} first")
            inputs[name] = artifact
        out = self.work / "out"
        shutil.rmtree(out, ignore_errors=True)
        out.mkdir()
        context = StageContext(out, self.work, inputs, device)
        return (
            context if progress is None else StageContext(out, self.work, inputs, device, progress)
        )

    def publish(self, result: StageResult) -> Artifact:
        """Publish what was written to the context's `out` by one atomic rename.

        Raises:
            UserError: The artifact does not fit into the store's budget.
            RuntimeError: The lock was lost to another process.
        """
        self._require_lock()  # without it the folder is another's
        out, stage = self.work / "out", self.stage
        files = describe_files(out)
        manifest = Manifest(
            key=stage.key,
            stage=stage.stage_name,
            version=stage.version,
            label=stage.label,
            dataset=stage.dataset,
            spec=stage.spec.model_dump(mode="json"),
            inputs={name: below.key for name, below in stage.inputs.items()},
            reads={
                name: below.key for name, below in stage.reads.items() if name not in stage.inputs
            },
            metrics=dict(result.metrics),
            history=[dict(epoch) for epoch in result.history],
            files=files,
            seconds=self._seconds_spent(),
            created=time.time(),
            versions=library_versions(),
        )
        self.store.require_space(manifest.bytes, stage.label)
        write_manifest(out, manifest)
        self._require_lock()
        target = self.store.artifact_path(stage)
        target.parent.mkdir(parents=True, exist_ok=True)
        out.rename(target)
        shutil.rmtree(self.work, ignore_errors=True)
        self.store._verified.add(stage.key)
        self.artifact = Artifact(target, manifest)
        return self.artifact

    def release(self) -> None:
        """Let others compute the stage; the checkpoints in `work` stay for them."""
        # Without the lock the folder is another's.
        if self.artifact is None and self.work.is_dir() and self._lock.held:
            shutil.rmtree(self.work / "out", ignore_errors=True)
            # Time spent before an interruption counts when the stage is published in the end.
            spent = json.dumps(self._seconds_spent()).encode()
            write_atomically(self.work / _SPENT, spent)
        self._lock.release()

    def _require_lock(self) -> None:
        if not self._lock.held:
            raise RuntimeError(f"lost the lock on {self.stage.label} while computing it")

    def _seconds_spent(self) -> float:
        try:
            before = float(json.loads((self.work / _SPENT).read_text()))
        except (OSError, ValueError):
            before = 0.0
        return before + time.monotonic() - self._started

    def __enter__(self) -> Claim:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.release()
