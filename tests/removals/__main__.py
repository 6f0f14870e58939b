"""Takes mechanisms away, one at a time, and prints whether a test broke."""

from __future__ import annotations

import sys
import tempfile
from collections import Counter
from itertools import groupby
from pathlib import Path

from tests.removals.removal import copy_project, read_removals


def main() -> int:
    """Return 0 if every mechanism that was taken away broke a test."""
    words = " ".join(sys.argv[1:]).lower()
    chosen = [one for one in read_removals() if words in f"{one.promise}: {one.mechanism}".lower()]
    counts: Counter[str] = Counter()
    with tempfile.TemporaryDirectory() as place:
        project = Path(place)
        copy_project(project)
        for promise, removals in groupby(chosen, lambda one: one.promise):
            print(promise)
            for one in removals:
                outcome = one.outcome(project)
                counts[outcome] += 1
                print(f"  {outcome:11}  {one.mechanism}", flush=True)
    print(", ".join(f"{count} {outcome}" for outcome, count in counts.items()), f"of {len(chosen)}")
    return 0 if chosen and counts["broke"] + counts["hung"] == len(chosen) else 1


if __name__ == "__main__":
    sys.exit(main())
