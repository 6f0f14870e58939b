"""What networks cost: seconds and bytes of all stages below them, from the store's manifests."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from mlfd_tune.core.store import Artifact, Store

__all__ = ["Cost", "Costs"]


@dataclass(frozen=True)
class Cost:
    """What some networks and all below them took, each artifact counted once.

    Attributes:
        seconds: Seconds of computing by stage name.
        bytes: Bytes in the store by stage name.
        missing: Artifacts that the store no longer has; what they stand on is not counted either.
    """

    seconds: dict[str, float]
    bytes: dict[str, int]
    missing: int


class Costs:
    """Adds up manifests of one store.

    Args:
        store: The store.
    """

    def __init__(self, store: Store) -> None:
        self._paths: dict[str, Path] = {
            path.name: path for path in store.root.glob("artifacts/*/*")
        }
        self._opened: dict[str, Artifact | None] = {}

    def of(self, keys: Iterable[str]) -> Cost:
        """Return what the artifacts `keys` and all they were computed from cost together."""
        seconds: defaultdict[str, float] = defaultdict(float)
        sizes: defaultdict[str, int] = defaultdict(int)
        waiting, seen, missing = list(keys), set[str](), 0
        while waiting:
            key = waiting.pop()
            if key in seen:
                continue
            seen.add(key)
            artifact = self._open(key)
            if artifact is None:
                missing += 1
                continue
            manifest = artifact.manifest
            seconds[manifest.stage] += manifest.seconds
            sizes[manifest.stage] += manifest.bytes
            waiting += manifest.below
        return Cost(dict(sorted(seconds.items())), dict(sorted(sizes.items())), missing)

    def _open(self, key: str) -> Artifact | None:
        if key not in self._opened:
            try:
                self._opened[key] = Artifact.open(self._paths[key])
            except (KeyError, OSError, ValueError):  # removed, or damaged
                self._opened[key] = None
        return self._opened[key]
