"""What a trial has in the end: a student, a baseline, or what a joint teacher does on a dataset."""

from __future__ import annotations

from abc import abstractmethod
from typing import Any, ClassVar

from pydantic import Field

from mlfd_tune.core.spec import Spec
from mlfd_tune.core.stages.dataset import DatasetStage
from mlfd_tune.core.stages.readers import Reader
from mlfd_tune.core.store import Stage
from mlfd_tune.core.training import TrainSpec

__all__ = ["StudentSpec", "TrialStage"]


class StudentSpec(Spec):
    """Identity of a student, beside its dataset and its lessons.

    Attributes:
        extensions: Packages that the method and its parts come from, with their versions.
        options: Settings of a method that another package brings.
    """

    added_later: ClassVar[frozenset[str]] = frozenset({"extensions", "options"})

    dataset: str
    arch: str
    train: TrainSpec
    seed: int
    distillation: Spec | None = None
    extensions: dict[str, str] = Field({})
    options: dict[str, Any] = Field({})


class TrialStage(Stage):
    """A stage that a method plans for one dataset: its history is reported epoch by epoch.

    Attributes:
        data: The packed dataset.
        spec: Its identity.
        method: The name of the method that planned the stage, for people.
    """

    data: DatasetStage
    spec: StudentSpec
    method: str = ""

    @property
    def label(self) -> str:  # noqa: D102
        about = ", ".join(filter(None, (self.method, self.spec.arch, f"seed {self.spec.seed}")))
        return f"{self.stage_name} {self.spec.dataset} ({about})"

    @property
    def dataset(self) -> str:  # noqa: D102
        return self.spec.dataset

    @property
    def epochs(self) -> int:
        """Epochs of the whole training."""
        return self.spec.train.epochs

    @abstractmethod
    def reader(self) -> Reader:
        """Return what runs the finished network over images."""
