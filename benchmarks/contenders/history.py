"""What trials reported, and whether contenders that ran the same trials got the same numbers."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path

__all__ = ["History", "compare"]


@dataclass(frozen=True)
class History:
    """What came out of the trials of one sweep.

    Attributes:
        accuracy: ``val/acc1`` in percent by dataset, number of the point, and epoch from 1.
        stages: How many stages were computed for it, by stage name.
    """

    accuracy: dict[tuple[str, int, int], float]
    stages: Counter[str]

    @property
    def epochs(self) -> int:
        """How many epochs of students were trained."""
        return len(self.accuracy)

    @classmethod
    def read(cls, path: Path) -> History:
        """Read what `benchmarks.contenders.by_hand` wrote: one JSON object per epoch."""
        rows = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
        accuracy = {(row["dataset"], row["point"], row["epoch"]): row["val/acc1"] for row in rows}
        stages: Counter[str] = Counter()
        for row in rows:
            stages.update(row["stages"])
        return cls(accuracy, stages)


def compare(histories: Mapping[str, History]) -> int:
    """Return how many epochs of the same trial two contenders both ran, over all pairs.

    Raises:
        ValueError: An epoch's accuracy differs, be it in the last bit.
    """
    compared = 0
    for (one, ones), (other, others) in combinations(histories.items(), 2):
        shared = ones.accuracy.keys() & others.accuracy.keys()
        differing = sorted(at for at in shared if ones.accuracy[at] != others.accuracy[at])
        if differing:
            at = differing[0]
            raise ValueError(
                f"{len(differing)} of {len(shared)} epochs differ between {one} and {other}; "
                f"first {at}: {ones.accuracy[at]!r} and {others.accuracy[at]!r}"
            )
        compared += len(shared)
    return compared
