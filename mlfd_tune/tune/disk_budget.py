"""A cap on the bytes of a run's students and of their checkpoints, which holds at every moment.

Whoever writes holds the budget's lock, so what fits when it is looked at fits when it is written.
Where there is no room, finished students of the search go, those that rank last first; never those
that rank among the best, nor confirmed ones. A checkpoint that still does not fit is not written.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path

from filelock import FileLock

from mlfd_tune.core.no_space import NoSpaceError
from mlfd_tune.core.sizes import size_text
from mlfd_tune.core.stages import StudentStage
from mlfd_tune.core.training.checkpoint_file import NoRoomError
from mlfd_tune.tune.study_students import RANKED_BY, Member, Members, worst_first

__all__ = ["CAP", "AnyRoom", "DiskBudget", "NoCap", "StudentRoom", "student_bytes"]

CAP = "store.study_max_bytes"
"""The key of the cap in an experiment file."""

_MANIFEST = 16384  # but for the history
_EPOCH = 2048  # of the history: some twenty metrics with their names
_NOTES = 64  # an unfinished student's other files, such as the seconds spent on it


class AnyRoom:
    """Through which the files of a student are written that may take whatever it needs."""

    def checkpoint(self, needed: int) -> AbstractContextManager[None]:
        """Hold room for a checkpoint while it is written."""
        return nullcontext()

    def artifact(self, metrics: Mapping[str, float]) -> AbstractContextManager[bool]:
        """Hold room for the finished student; tell whether it is to be written."""
        return nullcontext(True)


class NoCap:
    """The students of a run may take what they need."""

    def room_for(self, stage: StudentStage, trial: str) -> AnyRoom:
        """Return what the files of a student are written through, which is claimed."""
        return AnyRoom()

    def replayed(self, stage: StudentStage, trial: str) -> None:
        """Note that a trial has a student that is there."""


@dataclass(frozen=True)
class DiskBudget(NoCap):
    """How much disk the students of a run may take.

    Attributes:
        folder: Where the run notes its students.
        root: Of the store.
        max_bytes: The cap.
        keep: How many finished students of every study stay, the best first.
    """

    folder: Path
    root: Path
    max_bytes: int
    keep: int

    def room_for(self, stage: StudentStage, trial: str) -> AnyRoom:
        """Count a student among the run's own, and return what its files are written through.

        Args:
            stage: The student, which this process has claimed.
            trial: Id of its trial.
        """
        member = _member(stage, trial)
        with self.locked() as members:
            members.add(member)
        return StudentRoom(self, member, student_bytes(stage))

    def replayed(self, stage: StudentStage, trial: str) -> None:
        """Note that another trial has the same student, for where it ranks among equal ones."""
        with self.locked() as members:
            if members.get(stage.key) is not None:
                members.add(_member(stage, trial))

    def used_bytes(self) -> int:
        """Return what the run's students and their checkpoints take now."""
        return _used(Members(self.folder, self.root))

    @contextmanager
    def locked(self) -> Iterator[Members]:
        """Hold the lock without which nothing is written, and give access to the students."""
        self.folder.mkdir(parents=True, exist_ok=True)
        with FileLock(self.folder / ".lock"):
            yield Members(self.folder, self.root)

    def make_room(
        self, members: Members, needed: int, new: tuple[Member, float] | None = None
    ) -> bool:
        """Remove finished students, those that rank last first, until `needed` bytes fit.

        Args:
            members: What `locked` gave.
            needed: Bytes to be written.
            new: The finished student that they are of, and its accuracy: it may be the one that
                ranks last, and then they do not fit.

        Returns:
            Whether they fit.
        """
        while _used(members) + needed > self.max_bytes:
            scored = list(members.scored())
            last = next(worst_first(scored if new is None else [*scored, new], self.keep), None)
            if last is None or (new is not None and last == new[0]):
                return False
            members.drop(last)
        return True


@dataclass(frozen=True)
class StudentRoom(AnyRoom):
    """Through which the files of one student are written within the cap.

    Attributes:
        budget: The run's.
        member: The student.
        bytes: Bound on the size of its artifact.
    """

    budget: DiskBudget
    member: Member
    bytes: int

    @contextmanager
    def checkpoint(self, needed: int) -> Iterator[None]:
        """Hold room for a checkpoint while it is written, beside the one that it replaces.

        Raises:
            NoRoomError: There is none.
        """
        with self.budget.locked() as members:
            if not self.budget.make_room(members, needed):
                raise NoRoomError(f"it needs {size_text(needed)}, and {self._situation(members)}")
            yield

    @contextmanager
    def artifact(self, metrics: Mapping[str, float]) -> Iterator[bool]:
        """Hold room for the finished student while it is written.

        Where it is short, the student's own checkpoint goes, which it makes worthless; then
        students that rank last; then, for a student that is to be kept, other's checkpoints.

        Args:
            metrics: Of its last epoch.

        Yields:
            Whether it is to be written. The one that ranks last in a search is not.

        Raises:
            NoSpaceError: There is no room for a student that is to be kept.
        """
        with self.budget.locked() as members:
            yield self._fits(members, metrics[RANKED_BY])

    def _fits(self, members: Members, value: float) -> bool:
        new = (self.member, value)
        if _used(members) + self.bytes > self.budget.max_bytes:
            members.drop_checkpoint(self.member)
        if self.budget.make_room(members, self.bytes, new):
            return True
        if self.member in worst_first([*members.scored(), new], self.budget.keep):
            return False
        for other in members.with_checkpoint():
            members.drop_checkpoint(other)
            if self.budget.make_room(members, self.bytes, new):
                return True
        raise NoSpaceError(
            f"{CAP}: no room for a student that is to be kept: it needs {size_text(self.bytes)}, "
            f"and {self._situation(members)}; raise {CAP} and go on with --resume"
        )

    def _situation(self, members: Members) -> str:
        used, cap = size_text(_used(members)), size_text(self.budget.max_bytes)
        return f"{used} of the {cap} that {CAP} allows are in use"


def student_bytes(stage: StudentStage) -> int:
    """Return a bound on what the artifact of a student takes on disk."""
    return stage.estimate_bytes() + _MANIFEST + stage.epochs * _EPOCH


def _member(stage: StudentStage, trial: str) -> Member:
    kind, *_, number = trial.split("/")
    searched = int(number) if kind == "trial" else None
    return Member(stage.key, stage.stage_name, stage.spec.dataset, searched)


def _used(members: Members) -> int:
    return sum(size + _NOTES for size in members.sizes().values())
