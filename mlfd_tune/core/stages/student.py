"""Stages `student` and `baseline`: one network for one dataset, whatever teaches it.

`StudentStage` is what all methods have in common: the network, its initialisation, the images and
their order. A method's own stage adds the lessons.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar

import torch
from pydantic import Field
from torch import Tensor, nn

from mlfd_tune.core.data import PackedDataset
from mlfd_tune.core.losses import LossTerms, cross_entropy_terms
from mlfd_tune.core.models import Backbone
from mlfd_tune.core.seeding import RandomStreams
from mlfd_tune.core.spec import Spec
from mlfd_tune.core.stages.dataset import DatasetStage
from mlfd_tune.core.stages.images import ImageBatches, evaluate_classifier
from mlfd_tune.core.stages.model_files import save_model
from mlfd_tune.core.stages.teacher import backbone_bytes, build_backbone, describe_backbone
from mlfd_tune.core.stages.training_stage import TrainingStage
from mlfd_tune.core.store import Artifact, Stage
from mlfd_tune.core.training import Task, Trainer, TrainSpec

__all__ = ["BaselineStage", "StudentSpec", "StudentStage", "StudentTask"]


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


class StudentTask(Task):
    """A student's network and images; by itself it learns the labels alone.

    Args:
        student: The network that is kept.
        data: The student's dataset.
        train: How it is trained.
        helpers: What is trained beside the student and thrown away, such as adaptors.
    """

    def __init__(
        self,
        student: Backbone,
        data: PackedDataset,
        train: TrainSpec,
        helpers: Mapping[str, nn.Module] | None = None,
    ) -> None:
        self.student = student
        self.model = nn.ModuleDict({"student": student, **(helpers or {})})
        self.train = train
        self.device = next(student.parameters()).device
        self.training = ImageBatches(data, "train", self.device)
        self.validation = ImageBatches(data, "val", self.device)
        self.size = len(self.training)

    def loss(self, indices: Tensor, augment: torch.Generator) -> LossTerms:  # noqa: D102
        images, labels = self.training.augmented(indices, self.train.augment, augment)
        logits, _ = self.student(images)
        return cross_entropy_terms(logits, labels, self.train.label_smoothing)

    def evaluate(self) -> dict[str, float]:  # noqa: D102
        return evaluate_classifier(self.student, self.validation, "val")


class StudentStage(TrainingStage):
    """Trains a student; a subclass says what it learns from.

    Every arm draws from the same random streams (role ``student``), so students, baselines and
    controls of one seed start from the same weights and see the same images in the same order.

    Args:
        data: The packed dataset.
        spec: The student's identity.

    Attributes:
        method: The name of the method that planned the stage, for people.
    """

    name = "student"
    spec: StudentSpec
    method = ""

    def __init__(self, data: DatasetStage, spec: StudentSpec) -> None:
        self.data = data
        self.spec = spec

    @abstractmethod
    def lessons(self) -> dict[str, Stage]:
        """Return the stages that are read beside the dataset, by name."""

    @abstractmethod
    def task(
        self,
        student: Backbone,
        data: PackedDataset,
        lessons: Mapping[str, Artifact],
        streams: RandomStreams,
    ) -> StudentTask:
        """Return what the training loop trains.

        Args:
            student: The network as every method starts from it, on the device it trains on.
            data: The packed dataset.
            lessons: The artifacts of `lessons`, by name.
            streams: The student's random streams. Take new names: those that begin with ``init``,
                ``order/``, ``augment/`` and ``dropout/`` are in use.
        """

    @cached_property
    def inputs(self) -> dict[str, Stage]:  # noqa: D102
        return {"dataset": self.data, **self.lessons()}

    @property
    def label(self) -> str:  # noqa: D102
        about = ", ".join(filter(None, (self.method, self.spec.arch, f"seed {self.spec.seed}")))
        return f"{self.stage_name} {self.spec.dataset} ({about})"

    @property
    def dataset(self) -> str:  # noqa: D102
        return self.spec.dataset

    @property
    def epochs(self) -> int:  # noqa: D102
        return self.spec.train.epochs

    def estimate_bytes(self) -> int:
        """The student's weights; what helped to train it is not kept."""
        return backbone_bytes(self.spec.arch, self.data.num_classes, self.data.spec.image_size)

    def trainer(self, inputs: Mapping[str, Artifact], device: torch.device) -> Trainer:  # noqa: D102
        packed = PackedDataset(inputs["dataset"].path)
        streams = RandomStreams(self.spec.seed, "student", self.spec.dataset)
        student = build_backbone(self.spec.arch, packed, self.spec.train, streams).to(device)
        task = self.task(student, packed, inputs, streams)
        return Trainer(task, self.spec.train, streams, device)

    def save(self, trainer: Trainer, out: Path) -> None:
        """Write the student alone: what helped to train it is left behind."""
        assert isinstance(trainer.task, StudentTask)
        about = describe_backbone(self.spec.arch, trainer.task.training)
        save_model(trainer.task.student, about, out)


class BaselineStage(StudentStage):
    """The dataset-specific baseline: the student's network learning the labels alone."""

    name = "baseline"

    def lessons(self) -> dict[str, Stage]:
        """Return nothing: the dataset is all it needs."""
        return {}

    def task(  # noqa: D102
        self,
        student: Backbone,
        data: PackedDataset,
        lessons: Mapping[str, Artifact],
        streams: RandomStreams,
    ) -> StudentTask:
        return StudentTask(student, data, self.spec.train)
