"""Stages `student` and `baseline`: one network for one dataset, whatever teaches it.

`StudentStage` is what all methods have in common: the network, its initialisation, the images and
their order. A method's own stage adds the lessons.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping
from functools import cached_property
from pathlib import Path

import torch
from torch import Tensor, nn

from mlfd_tune.core.data import PackedDataset
from mlfd_tune.core.losses import LossTerms, cross_entropy_terms
from mlfd_tune.core.models import Backbone
from mlfd_tune.core.seeding import RandomStreams
from mlfd_tune.core.stages.dataset import DatasetStage
from mlfd_tune.core.stages.images import ImageBatches, evaluate_classifier
from mlfd_tune.core.stages.model_files import save_model
from mlfd_tune.core.stages.readers import BackboneReader, Reader
from mlfd_tune.core.stages.teacher import backbone_bytes, build_backbone, describe_backbone
from mlfd_tune.core.stages.training_stage import TrainingStage
from mlfd_tune.core.stages.trial_stage import StudentSpec, TrialStage
from mlfd_tune.core.store import Artifact, Stage
from mlfd_tune.core.training import Task, Trainer, TrainSpec

__all__ = ["BaselineStage", "StudentStage", "StudentTask"]


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


class StudentStage(TrialStage, TrainingStage):
    """Trains a student; a subclass says what it learns from.

    Every arm draws from the same random streams (role ``student``), so students, baselines and
    controls of one seed start from the same weights and see the same images in the same order.

    Args:
        data: The packed dataset.
        spec: The student's identity.
    """

    name = "student"

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

    def reader(self) -> Reader:  # noqa: D102
        return BackboneReader(self, self.data.spec.image_size, self.spec.train.threads)

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
