"""Listing, verifying and cleaning a store."""

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

from mlfd_tune.core.store.artifact import Artifact
from mlfd_tune.core.store.locks import read_owner
from mlfd_tune.core.store.store import Store

__all__ = ["Removal", "collect_garbage", "list_artifacts", "verify_store"]

_DAY_S = 86400.0


@dataclass(frozen=True)
class Removal:
    """Something garbage collection removed, or would remove: path, size in bytes, and why."""

    path: Path
    bytes: int
    reason: str


def list_artifacts(store: Store) -> list[Artifact]:
    """Return every readable artifact, by stage and then by age."""
    found = []
    for path in sorted(store.root.glob("artifacts/*/*")):
        try:
            found.append(Artifact.open(path))
        except (OSError, ValueError):
            continue
    return sorted(found, key=lambda a: (a.manifest.stage, a.manifest.created))


def verify_store(store: Store) -> dict[str, str]:
    """Check every file of every artifact.

    Returns:
        What is wrong, by artifact key. Empty when all is well.
    """
    problems = {}
    for path in sorted(store.root.glob("artifacts/*/*")):
        try:
            damage = Artifact.open(path).damage()
        except FileNotFoundError:
            damage = "it has no manifest"
        except (OSError, ValueError):
            damage = "its manifest cannot be read"
        if damage:
            problems[path.name] = damage
    return problems


def collect_garbage(
    store: Store,
    *,
    max_bytes: int | None = None,
    older_than_s: float | None = None,
    dry_run: bool = False,
) -> list[Removal]:
    """Remove what nobody needs.

    Always removes damaged artifacts and the work folders of stages that nobody is computing and
    that were not touched for a day. Artifacts go only when asked for, least recently used first.

    Args:
        store: The store to clean.
        max_bytes: Remove artifacts until the rest takes at most this many bytes.
        older_than_s: Remove artifacts not used for this many seconds.
        dry_run: Only say what would go.
    """
    removals = [*_leftovers(store), *_artifacts(store, max_bytes, older_than_s)]
    if not dry_run:
        for removal in removals:
            _remove(store, removal.path)
    return removals


def _leftovers(store: Store) -> Iterator[Removal]:
    for path in sorted((store.root / "damaged").glob("*")):
        yield Removal(path, _folder_bytes(path), "damaged")
    for path in sorted((store.root / "work").glob("*")):
        lock = store.root / "locks" / f"{path.name}.lock"
        owner = read_owner(lock)
        alive = owner is not None and owner.is_alive()
        # The lock is among what must be idle: the owner's heartbeat touches it.
        if not alive and _idle_seconds([lock, path, *path.rglob("*")]) > _DAY_S:
            yield Removal(path, _folder_bytes(path), "unfinished and left alone for a day")


def _artifacts(
    store: Store, max_bytes: int | None, older_than_s: float | None
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
        total -= artifact.manifest.bytes
        yield Removal(artifact.path, artifact.manifest.bytes, reason)


def _remove(store: Store, path: Path) -> None:
    # Moved away first: a reader finds all of an artifact or nothing of it, even if this is killed.
    doomed = store.root / "damaged" / f"removed-{path.name}-{uuid.uuid4().hex[:8]}"
    doomed.parent.mkdir(exist_ok=True)
    try:
        path.rename(doomed)
    except FileNotFoundError:  # another process removed it first
        return
    shutil.rmtree(doomed, ignore_errors=True)


def _idle_seconds(paths: Iterable[Path]) -> float:
    return time.time() - max((stat.st_mtime for stat in _stats(paths)), default=0.0)


def _folder_bytes(path: Path) -> int:
    return sum(stat.st_size for stat in _stats(path.rglob("*")) if S_ISREG(stat.st_mode))


def _stats(paths: Iterable[Path]) -> Iterator[os.stat_result]:
    for path in paths:
        with contextlib.suppress(OSError):  # removed meanwhile
            yield path.stat()
