"""Listing, verifying and cleaning a store."""

from __future__ import annotations

import shutil
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from mlfd_tune.core.store.artifact import Artifact
from mlfd_tune.core.store.locks import HeartbeatLock, read_owner
from mlfd_tune.core.store.store import Store

__all__ = ["Removal", "collect_garbage", "list_artifacts", "verify_store"]


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
            shutil.rmtree(removal.path, ignore_errors=True)
    return removals


def _leftovers(store: Store) -> Iterator[Removal]:
    for path in sorted((store.root / "damaged").glob("*")):
        yield Removal(path, _folder_bytes(path), "damaged")
    for path in sorted((store.root / "work").glob("*")):
        lock = HeartbeatLock(store.root / "locks" / f"{path.name}.lock")
        owner = read_owner(lock.path)
        idle = time.time() - max(file.stat().st_mtime for file in [path, *path.rglob("*")])
        if (owner is None or owner.is_dead()) and idle > 86400:
            yield Removal(path, _folder_bytes(path), "unfinished and left alone for a day")


def _artifacts(
    store: Store, max_bytes: int | None, older_than_s: float | None
) -> Iterator[Removal]:
    by_last_use = sorted(list_artifacts(store), key=lambda a: a.path.stat().st_mtime)
    total = sum(artifact.manifest.bytes for artifact in by_last_use)
    for artifact in by_last_use:
        unused = time.time() - artifact.path.stat().st_mtime
        if older_than_s is not None and unused > older_than_s:
            reason = f"not used for {unused / 86400:.1f} days"
        elif max_bytes is not None and total > max_bytes:
            reason = "least recently used, over the size asked for"
        else:
            continue
        total -= artifact.manifest.bytes
        yield Removal(artifact.path, artifact.manifest.bytes, reason)


def _folder_bytes(path: Path) -> int:
    return sum(file.stat().st_size for file in path.rglob("*") if file.is_file())
