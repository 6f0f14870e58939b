"""The students of one run: which there are, what they take on disk, and which rank last.

Every worker notes the students that it trains in a folder of the run, one small file each. What is
on disk is looked up in the store whenever somebody asks: nothing can get out of step.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from mlfd_tune.core.store import Artifact
from mlfd_tune.core.store.artifact import write_atomically
from mlfd_tune.core.training.checkpoint_file import CHECKPOINT
from mlfd_tune.tune.doomed import doomed_of, folder_bytes, remove

__all__ = ["RANKED_BY", "Member", "Members", "worst_first"]

RANKED_BY = "val/acc1"


@dataclass(frozen=True)
class Member:
    """A student that the run trains or has trained.

    Attributes:
        key: Its key in the store.
        stage: The name its artifact is filed under.
        dataset: Its dataset.
        number: The trial's number in its study; None for one that is not searched for, such as a
            confirmation: it is kept whatever it scores.
    """

    key: str
    stage: str
    dataset: str
    number: int | None


def worst_first(scored: Iterable[tuple[Member, float]], keep: int) -> Iterator[Member]:
    """Yield the students of a search that may go, in that order.

    Studies are of different datasets, so values of one say nothing about another: who stands
    furthest down in its own study goes first, and of several such the one of the lowest value.

    Args:
        scored: Finished students with their validation accuracies.
        keep: How many of every study stay, the best first.
    """
    studies: dict[str, list[tuple[Member, float]]] = defaultdict(list)
    for member, value in scored:
        if member.number is not None:
            studies[member.dataset].append((member, value))
    places = []
    for found in studies.values():
        # As a study ranks its trials: of equal ones the earlier is better.
        found.sort(key=lambda one: (-one[1], one[0].number))
        places += [(-place, value, member) for place, (member, value) in enumerate(found)]
    for place, _, member in sorted(places, key=lambda one: one[:2]):
        if -place >= keep:
            yield member


class Members:
    """The students of a run, on disk.

    Whoever changes anything holds the lock of the budget.

    Args:
        folder: Where they are noted.
        root: Of the store.
    """

    def __init__(self, folder: Path, root: Path) -> None:
        self._folder = folder
        self._root = root

    def add(self, member: Member) -> None:
        """Note a student; one that several trials have counts as the first one's."""
        known = self.get(member.key)
        if known is not None and known.number is not None and member.number is not None:
            member = replace(member, number=min(known.number, member.number))
        if member != known:
            self._folder.mkdir(parents=True, exist_ok=True)
            write_atomically(self._note(member), json.dumps(asdict(member)).encode())

    def get(self, key: str) -> Member | None:
        """Return what is noted of a student."""
        try:
            return Member(**json.loads((self._folder / key).read_bytes()))
        except FileNotFoundError:
            return None

    def drop(self, member: Member) -> None:
        """Remove the artifact of a student, or whatever is there of it, and forget it."""
        for place in (self._artifact(member), self._work(member)):
            remove(self._root, place)
        self._note(member).unlink(missing_ok=True)

    def drop_checkpoint(self, member: Member) -> None:
        """Remove the checkpoint of a student that is trained."""
        for file in self._checkpoints(member):
            file.unlink(missing_ok=True)

    def sizes(self) -> dict[Member, int]:
        """Return the bytes of each student on disk: its artifact, checkpoint and what goes."""
        found = {}
        for member in self._all():
            size = sum(folder_bytes(place) for place in self._places(member))
            if size or self._work(member).is_dir():
                found[member] = size
            else:  # pruned, or removed by hand
                self._note(member).unlink(missing_ok=True)
        return found

    def scored(self) -> Iterator[tuple[Member, float]]:
        """Yield the finished ones with their validation accuracies."""
        for member in self._all():
            try:
                artifact = Artifact.open(self._artifact(member))
            except (OSError, ValueError):  # not finished, or damaged
                continue
            yield member, artifact.manifest.metrics[RANKED_BY]

    def with_checkpoint(self) -> list[Member]:
        """Return those that have a checkpoint."""
        return [one for one in self._all() if any(self._checkpoints(one))]

    def _all(self) -> Iterator[Member]:
        for path in self._folder.glob("[!.]*"):
            member = self.get(path.name)
            if member is not None:
                yield member

    def _places(self, member: Member) -> Iterator[Path]:
        yield self._artifact(member)
        yield self._work(member)
        yield from doomed_of(self._root, member.key)

    def _checkpoints(self, member: Member) -> Iterator[Path]:
        yield from self._work(member).glob(f"*/{CHECKPOINT}")  # in the folder of who has claimed it

    def _note(self, member: Member) -> Path:
        return self._folder / member.key

    def _artifact(self, member: Member) -> Path:
        return self._root / "artifacts" / member.stage / member.key

    def _work(self, member: Member) -> Path:
        return self._root / "work" / member.key
