"""Listing and cleaning a store."""

from __future__ import annotations

import contextlib
import os
import shutil
import time
import uuid
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from stat import S_ISREG

from mlfd_tune.core.errors import UserError
from mlfd_tune.core.store.artifact import Artifact
from mlfd_tune.core.store.locks import HeartbeatLock
from mlfd_tune.core.store.owners import idle_since, read_owner
from mlfd_tune.core.store.pins import decided, expired_pins, pinned_keys
from mlfd_tune.core.store.refusals import may_be_written
from mlfd_tune.core.store.store import Store

__all__ = ["Collected", "Removal", "collect_garbage", "folder_bytes", "list_artifacts"]

_DAY_S = 86400.0


@dataclass(frozen=True)
class Removal:
    """Something garbage collection removed, or would remove: path, size in bytes, and why."""

    path: Path
    bytes: int
    reason: str


@dataclass(frozen=True)
class Collected:
    """What garbage collection did.

    Attributes:
        removed: What it removed, or would remove.
        needed: What it would have removed, did no running sweep need it.
    """

    removed: tuple[Removal, ...]
    needed: tuple[Removal, ...]


def list_artifacts(store: Store) -> list[Artifact]:
    """Return every readable artifact, by stage and then by age."""
    found = []
    for path in sorted(store.root.glob("artifacts/*/*")):
        try:
            found.append(Artifact.open(path))
        except (OSError, ValueError):
            continue
    return sorted(found, key=lambda a: (a.manifest.stage, a.manifest.created))


def collect_garbage(
    store: Store,
    *,
    max_bytes: int | None = None,
    older_than_s: float | None = None,
    dry_run: bool = False,
) -> Collected:
    """Remove what nobody needs.

    Always removes damaged artifacts and the work folders of stages that nobody is computing and
    that were not touched for a day. Artifacts go only when asked for, least recently used first.
    What a run needs that goes on at this moment stays (`Store.pin`).

    Args:
        store: The store to clean.
        max_bytes: Remove artifacts until the rest takes at most this many bytes.
        older_than_s: Remove artifacts not used for this many seconds.
        dry_run: Only say what would go.

    Raises:
        UserError: The store may only be read.
    """
    if not dry_run and not may_be_written(store.root):
        raise UserError(f"{store.root} may only be read, so nothing can be removed from it")
    pinned = pinned_keys(store.root)
    damaged = list(_damaged(store))
    chosen = [*_unfinished(store), *_artifacts(store, max_bytes, older_than_s, pinned)]
    last_used = {removal.path: idle_since(removal.path) for removal in chosen}
    needed = [removal for removal in chosen if removal.path.name in pinned]
    removed = [removal for removal in chosen if removal.path.name not in pinned]
    if not dry_run:
        for removal in damaged:
            shutil.rmtree(removal.path, ignore_errors=True)
        removed = [one for one in removed if _remove(store, one.path, last_used[one.path])]
        _tidy(store)
    return Collected((*damaged, *removed), tuple(needed))


def folder_bytes(path: Path) -> int:
    """Return the size of a file, or of all files below a folder, in bytes."""
    stats = _stats([path, *path.rglob("*")])
    return sum(stat.st_size for stat in stats if S_ISREG(stat.st_mode))


def _damaged(store: Store) -> Iterator[Removal]:
    for path in sorted((store.root / "damaged").glob("*")):
        yield Removal(path, folder_bytes(path), "damaged")


def _unfinished(store: Store) -> Iterator[Removal]:
    for path in sorted((store.root / "work").glob("*")):
        lock = _lock_of(store, path)
        owner = read_owner(lock)
        alive = owner is not None and owner.is_alive()
        # The lock is among what must be idle: the owner's heartbeat touches it.
        if not alive and _idle_seconds([lock, path, *path.rglob("*")]) > _DAY_S:
            yield Removal(path, folder_bytes(path), "unfinished and left alone for a day")


def _artifacts(
    store: Store, max_bytes: int | None, older_than_s: float | None, pinned: set[str]
) -> Iterator[Removal]:
    idle = [(_idle_seconds([artifact.path]), artifact) for artifact in list_artifacts(store)]
    total = sum(artifact.manifest.bytes for _, artifact in idle)
    for unused, artifact in sorted(idle, key=lambda item: -item[0]):
        if older_than_s is not None and unused > older_than_s:
            reason = f"not used for {unused / _DAY_S:.1f} days"
        elif max_bytes is not None and total > max_bytes:
            reason = "least recently used, over the size asked for"
        else:
            continue
        if artifact.key not in pinned:  # what stays makes no room: others go in its place
            total -= artifact.manifest.bytes
        yield Removal(artifact.path, artifact.manifest.bytes, reason)


def _remove(store: Store, path: Path, last_used: float | None) -> bool:
    """Remove something unless somebody has come to need it since it was chosen."""
    with decided(store.root):
        if path.name in pinned_keys(store.root) or idle_since(path) != last_used:
            return False
        # Moved away first: a reader finds all of an artifact or nothing of it, even if this is
        # killed.
        doomed = store.root / "damaged" / f"removed-{path.name}-{uuid.uuid4().hex[:8]}"
        doomed.parent.mkdir(exist_ok=True)
        try:
            path.rename(doomed)
        except FileNotFoundError:  # another process removed it first
            return False
    shutil.rmtree(doomed, ignore_errors=True)
    return True


def _tidy(store: Store) -> None:
    """Remove what is left of locks and pins of processes that are gone."""
    for path in expired_pins(store.root):
        path.unlink(missing_ok=True)
    for lock in store.root.glob("locks/*.lock"):
        HeartbeatLock(lock).clear()
    for guard in store.root.glob("locks/*.guard"):
        if _idle_seconds([guard]) > _DAY_S and not guard.with_suffix("").exists():
            guard.unlink(missing_ok=True)


def _lock_of(store: Store, work: Path) -> Path:
    return store.root / "locks" / f"{work.name}.lock"


def _idle_seconds(paths: Iterable[Path]) -> float:
    return time.time() - max((stat.st_mtime for stat in _stats(paths)), default=0.0)


def _stats(paths: Iterable[Path]) -> Iterator[os.stat_result]:
    for path in paths:
        with contextlib.suppress(OSError):  # removed meanwhile
            yield path.lstat()
