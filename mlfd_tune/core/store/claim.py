"""The right to compute one stage, and a folder of one's own to do it in.

Every claim has its own folder ``work/<key>/<token>``. Who takes a stage over renames the folder of
the one before to its own: the checkpoints in it are gone on from, and the one before, should it
come back to life, has nothing left that it could write to or publish. So no matter what becomes of
locks, nothing but a whole folder that one process alone has written is ever published.
"""

from __future__ import annotations

import contextlib
import errno
import json
import shutil
import time
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING

from mlfd_tune.core.store.artifact import (
    Artifact,
    Manifest,
    describe_files,
    library_versions,
    seal,
    write_atomically,
)
from mlfd_tune.core.store.files import force_to_disk
from mlfd_tune.core.store.locks import HeartbeatLock
from mlfd_tune.core.store.refusals import told_plainly
from mlfd_tune.core.store.stage import Progress, Stage, StageContext, StageResult

if TYPE_CHECKING:
    from mlfd_tune.core.store.store import Store

__all__ = ["Claim", "LostClaimError"]

_SPENT = "seconds.json"
_TAKEN = (errno.ENOTEMPTY, errno.EEXIST, errno.ENOTDIR, errno.ENOENT)


class LostClaimError(RuntimeError):
    """The stage was taken over by another process, or what it reads was removed meanwhile.

    Nothing is wrong with the stage: who asks for it again gets the other's result, or waits for it.
    """


class Claim:
    """The right to compute one stage.

    Made by `Store.claim`.

    Args:
        store: Where the artifact will be.
        stage: What to compute.
        lock: Held, but for an artifact that is there.
        artifact: The published artifact, if there is one.

    Attributes:
        artifact: The published artifact, if there is one (then there is nothing to compute).
        work: Folder for checkpoints: it outlives a dead owner, and goes when the stage is done.
    """

    def __init__(
        self, store: Store, stage: Stage, lock: HeartbeatLock, artifact: Artifact | None
    ) -> None:
        self.store = store
        self.stage = stage
        self.artifact = artifact
        self.work = store.work_path(stage)
        self._lock = lock
        self._started = time.monotonic()
        if artifact is None:
            self.work /= lock.token
            self._begin()

    @property
    def held(self) -> bool:
        """Whether the stage is still ours; checkpoints of who has lost it have nowhere to go."""
        return self._lock.held and self.work.is_dir()

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
        out = self._out
        shutil.rmtree(out, ignore_errors=True)
        out.mkdir()
        context = StageContext(out, self.work, inputs, device)
        return (
            context if progress is None else StageContext(out, self.work, inputs, device, progress)
        )

    def compute(self, device: str, progress: Progress | None = None) -> Artifact:
        """Run the stage, and publish what it writes.

        Raises:
            LostClaimError: Another process took it over, or what it reads was removed meanwhile.
            UserError: There is no room for it.
        """
        try:
            context = self.context(device, progress)
        except LookupError as error:
            raise self._disturbed() from error
        inputs = [artifact.path for artifact in context.inputs.values()]
        before = list(map(_inode, inputs))
        try:
            with told_plainly(self.store.root, self.stage.label, self.stage.estimate_bytes()):
                result = self.stage.run(context)
        except Exception as error:
            # An input that is there may have been removed and computed again meanwhile.
            if not self.held or list(map(_inode, inputs)) != before:
                raise self._disturbed() from error
            raise
        return self.publish(result)

    def publish(self, result: StageResult) -> Artifact:
        """Publish what was written to the context's `out` by one atomic rename.

        Who has lost the claim gets what the other has published.

        Raises:
            LostClaimError: The claim was lost, and nobody has published the stage yet.
            UserError: The artifact does not fit into the store's budget, or on the disk.
        """
        try:
            self._require_lock()
            with told_plainly(self.store.root, self.stage.label, self.stage.estimate_bytes()):
                self.artifact = self._publish(result)
        except LostClaimError:
            self.artifact = self.store.get(self.stage)
            if self.artifact is None:
                raise
        return self.artifact

    def release(self) -> None:
        """Let others compute the stage; the checkpoints in `work` stay for them."""
        if self.artifact is None and self.held:
            shutil.rmtree(self._out, ignore_errors=True)
            # Time spent before an interruption counts when the stage is published in the end.
            spent = json.dumps(self._seconds_spent()).encode()
            with contextlib.suppress(OSError):  # a full disk: the time is not worth an error
                write_atomically(self.work / _SPENT, spent)
        self._lock.release()

    @property
    def _out(self) -> Path:
        return self.work / "out"

    def _begin(self) -> None:
        # First the folder, then the look: who comes to an end between the two publishes no more.
        self._take_over()
        self.artifact = self.store.get(self.stage)
        if self.artifact is not None:
            shutil.rmtree(self.work.parent, ignore_errors=True)
            return
        self.store.require_space(self.stage.estimate_bytes(), self.stage.label)
        self.work.mkdir(parents=True, exist_ok=True)

    def _take_over(self) -> None:
        """Make the folder of who had the stage before our own."""
        folder = self.work.parent
        try:
            before = sorted(
                (path for path in folder.iterdir() if path.is_dir() and path.name != "out"),
                key=lambda path: path.stat().st_mtime,
            )
        except OSError:  # there is none, or another is taking it over at this moment
            return
        for path in before[:-1]:
            shutil.rmtree(path, ignore_errors=True)
        for path in before[-1:]:
            with contextlib.suppress(FileNotFoundError):
                path.rename(self.work)
            shutil.rmtree(self._out, ignore_errors=True)
            for half in self.work.glob(".*.tmp"):  # a checkpoint that was being written
                half.unlink(missing_ok=True)

    def _publish(self, result: StageResult) -> Artifact:
        out, stage = self._out, self.stage
        try:
            manifest = self._manifest(result)
            self.store.require_budget(manifest.bytes, stage.label)
            seal(out, manifest)
            self._require_lock()
            target = self.store.artifact_path(stage)
            target.parent.mkdir(parents=True, exist_ok=True)
            out.rename(target)
        except OSError as error:
            if error.errno in _TAKEN and not (self.held and out.is_dir()):
                raise self._lost() from error
            if error.errno in _TAKEN and self.store.get(stage) is not None:
                raise self._lost() from error
            raise
        for folder in (target.parent, target.parent.parent):  # the new name outlives a power cut
            force_to_disk(folder)
        shutil.rmtree(self.work.parent, ignore_errors=True)
        artifact = Artifact(target, manifest)
        self.store.trust(artifact)
        return artifact

    def _manifest(self, result: StageResult) -> Manifest:
        stage = self.stage
        return Manifest(
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
            files=describe_files(self._out),
            seconds=self._seconds_spent(),
            created=time.time(),
            versions=library_versions(),
        )

    def _require_lock(self) -> None:
        if not self._lock.held:
            raise self._lost()

    def _lost(self) -> LostClaimError:
        return LostClaimError(f"lost the lock on {self.stage.label} while computing it")

    def _disturbed(self) -> LostClaimError:
        return LostClaimError(f"disturbed while computing {self.stage.label}")

    def _seconds_spent(self) -> float:
        try:
            before = float(json.loads((self.work / _SPENT).read_text()))
        except (OSError, ValueError, TypeError):
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


def _inode(path: Path) -> int | None:
    try:
        return path.stat().st_ino
    except OSError:
        return None
