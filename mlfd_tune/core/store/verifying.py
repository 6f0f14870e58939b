"""Checking a store: every byte of every artifact, and all that lies in it beside them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from mlfd_tune.core.store.artifact import examine
from mlfd_tune.core.store.maintenance import folder_bytes
from mlfd_tune.core.store.owners import read_owner
from mlfd_tune.core.store.store import Store

__all__ = ["Leftover", "find_leftovers", "verify_store"]


@dataclass(frozen=True)
class Leftover:
    """Something in a store that is no artifact, and does no harm.

    Attributes:
        path: The folder or file.
        bytes: Its size.
        kind: ``unfinished`` is a stage that is gone on from when it is needed; ``damaged`` was set
            aside; ``abandoned`` is a lock or a pin whose owner is gone.
    """

    path: Path
    bytes: int
    kind: Literal["unfinished", "damaged", "abandoned"]


def verify_store(store: Store) -> dict[str, str]:
    """Check every file of every artifact, without changing anything.

    Returns:
        What is wrong, by artifact key; by path below the store's root for what is no artifact's.
        Empty when all is well.
    """
    problems = {}
    for stage in _sorted(store.root / "artifacts"):
        if not stage.is_dir():  # but it may be a link to one, such as on another disk
            problems[f"artifacts/{stage.name}"] = "it does not belong to the store"
            continue
        for path in _sorted(stage):
            if path.is_symlink() or not path.is_dir():
                problems[f"artifacts/{stage.name}/{path.name}"] = "it does not belong to the store"
                continue
            try:
                _, damage = examine(path)
            except PermissionError as error:
                damage = f"{Path(error.filename or path).name} may not be read"
            if damage:
                problems[path.name] = damage
    return problems


def find_leftovers(store: Store) -> list[Leftover]:
    """Return what those who were killed left behind, and what was set aside."""
    found = [
        Leftover(path, folder_bytes(path), "damaged") for path in _sorted(store.root / "damaged")
    ]
    for path in _sorted(store.root / "work"):
        owner = read_owner(store.root / "locks" / f"{path.name}.lock")
        if owner is None or owner.is_dead():
            found.append(Leftover(path, folder_bytes(path), "unfinished"))
    for path in (*_sorted(store.root / "locks"), *_sorted(store.root / "pins")):
        owner = read_owner(path) if path.suffix in (".lock", ".pin") else None
        if owner is not None and owner.is_dead():
            found.append(Leftover(path, folder_bytes(path), "abandoned"))
    return found


def _sorted(folder: Path) -> list[Path]:
    return sorted(folder.iterdir()) if folder.is_dir() else []
