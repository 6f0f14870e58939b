"""Stage `teacher`: one network trained on one dataset (Algorithm 1, steps 1-7)."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping
from functools import cache, cached_property
from pathlib import Path
from typing import ClassVar

import torch
from torch import Tensor

from mlfd_tune.core.data import PackedDataset
from mlfd_tune.core.losses import LossTerms, cross_entropy_terms
from mlfd_tune.core.models import Backbone
from mlfd_tune.core.seeding import RandomStreams
from mlfd_tune.core.spec import Spec
from mlfd_tune.core.stages.dataset import DatasetStage
from mlfd_tune.core.stages.images import ImageBatches, evaluate_classifier
from mlfd_tune.core.stages.model_files import (
    load_description,
    load_weights,
    model_bytes,
    save_model,
    without_draws,
    without_memory,
)
from mlfd_tune.core.stages.normalisation import Normalisation
from mlfd_tune.core.stages.training_stage import TrainingStage
from mlfd_tune.core.stages.weights import WeightsSource, backbone_from
from mlfd_tune.core.store import Artifact, Stage
from mlfd_tune.core.training import Task, Trainer, TrainSpec

__all__ = [
    "Teacher",
    "TeacherIdentity",
    "TeacherSpec",
    "TeacherStage",
    "backbone_bytes",
    "build_backbone",
    "describe_backbone",
    "load_backbone",
    "teacher_images",
]


class TeacherIdentity(Spec):
    """What every teacher's identity has."""

    dataset: str
    arch: str


class TeacherSpec(TeacherIdentity):
    """Identity of a trained teacher.

    Attributes:
        weights: Identity of the weights that it starts from; None from scratch.
        keep_head: False where these are known to tell apart other classes than the dataset's.
        normalisation: Statistics of its input images; None for the dataset's own.
    """

    added_later: ClassVar[frozenset[str]] = frozenset({"weights", "keep_head", "normalisation"})

    train: TrainSpec
    seed: int
    weights: str | None = None
    keep_head: bool = True
    normalisation: Normalisation | None = None


class Teacher(Stage):
    """A dataset's frozen teacher, however it came to its weights.

    Whatever learns from a teacher goes by what stands here, and by its artifact: the weights and
    the description that `load_backbone` reads.

    Attributes:
        data: The packed dataset whose classes it knows.
        spec: Its identity.
    """

    name = "teacher"
    data: DatasetStage
    spec: TeacherIdentity

    @property
    @abstractmethod
    def threads(self) -> int:
        """Intra-op threads on CPU; whatever runs the network uses as many."""

    @property
    @abstractmethod
    def origin(self) -> str:
        """How it came to its weights, for people; empty for training from scratch."""

    @cached_property
    def inputs(self) -> dict[str, Stage]:  # noqa: D102
        return {"dataset": self.data}

    @property
    def label(self) -> str:  # noqa: D102
        about = ", ".join(filter(None, (self.spec.arch, self.origin)))
        return f"teacher {self.spec.dataset} ({about})"

    @property
    def dataset(self) -> str:  # noqa: D102
        return self.spec.dataset

    @property
    def num_classes(self) -> int:
        """The number of its logits."""
        return self.data.num_classes

    def estimate_bytes(self) -> int:
        """The network's weights."""
        return backbone_bytes(self.spec.arch, self.num_classes, self.data.spec.image_size)


class ClassifierTask(Task):
    """A backbone learning its dataset's labels."""

    model: Backbone

    def __init__(
        self,
        model: Backbone,
        data: PackedDataset,
        train: TrainSpec,
        normalisation: Normalisation | None = None,
    ) -> None:
        device = next(model.parameters()).device
        self.model = model
        self.train = train
        self.training = teacher_images(data, "train", device, normalisation)
        self.validation = teacher_images(data, "val", device, normalisation)
        self.size = len(self.training)

    def loss(self, indices: Tensor, augment: torch.Generator) -> LossTerms:
        images, labels = self.training.augmented(indices, self.train.augment, augment)
        logits, _ = self.model(images)
        return cross_entropy_terms(logits, labels, self.train.label_smoothing)

    def evaluate(self) -> dict[str, float]:
        return evaluate_classifier(self.model, self.validation, "val")


class TeacherStage(Teacher, TrainingStage):
    """Trains the teacher of one dataset, from scratch or from weights that exist already.

    Args:
        data: The packed dataset.
        arch: Name of a timm model.
        train: How to train it.
        seed: Seed of its random streams.
        source: The weights to start from; None for timm's initialisation. A classifier for another
            number of classes, or for other classes, starts anew.
        normalisation: Statistics of its input images; None for the dataset's own.
    """

    spec: TeacherSpec

    def __init__(
        self,
        data: DatasetStage,
        arch: str,
        train: TrainSpec,
        seed: int,
        source: WeightsSource | None = None,
        normalisation: Normalisation | None = None,
    ) -> None:
        self.data = data
        self.source = source
        self.spec = TeacherSpec(
            dataset=data.dataset,
            arch=arch,
            train=train,
            seed=seed,
            weights=source and source.identity,
            keep_head=source is None or source.suits(data.listing[1]),
            normalisation=normalisation,
        )

    @property
    def origin(self) -> str:  # noqa: D102
        return "fine-tuned" if self.source else ""

    @property
    def epochs(self) -> int:  # noqa: D102
        return self.spec.train.epochs

    @property
    def threads(self) -> int:  # noqa: D102
        return self.spec.train.threads

    def trainer(self, inputs: Mapping[str, Artifact], device: torch.device) -> Trainer:  # noqa: D102
        spec, packed = self.spec, PackedDataset(inputs["dataset"].path)
        streams = RandomStreams(spec.seed, "teacher", spec.dataset)
        model = self._initial(packed, streams).to(device)
        task = ClassifierTask(model, packed, spec.train, spec.normalisation)
        return Trainer(task, spec.train, streams, device)

    def save(self, trainer: Trainer, out: Path) -> None:  # noqa: D102
        task = trainer.task
        assert isinstance(task, ClassifierTask)
        save_model(task.model, describe_backbone(self.spec.arch, task.training), out)

    def _initial(self, packed: PackedDataset, streams: RandomStreams) -> Backbone:
        spec = self.spec
        if self.source is None:
            return build_backbone(spec.arch, packed, spec.train, streams)
        with streams.as_global("init"):
            model, _ = backbone_from(
                self.source,
                spec.arch,
                packed.num_classes,
                packed.image_size,
                keep_head=spec.keep_head,
                drop_rate=spec.train.drop_rate,
                drop_path_rate=spec.train.drop_path_rate,
            )
        return model


def teacher_images(
    data: PackedDataset, split: str, device: torch.device, normalisation: Normalisation | None
) -> ImageBatches:
    """Return a split's batches, normalised with given statistics or with the dataset's own."""
    if normalisation is None:
        return ImageBatches(data, split, device)
    return ImageBatches(data, split, device, normalisation.mean, normalisation.std)


def build_backbone(
    arch: str, packed: PackedDataset, train: TrainSpec, streams: RandomStreams
) -> Backbone:
    """Return a new network for the dataset, initialised from the stream ``init``."""
    with streams.as_global("init"):
        return Backbone(
            arch,
            packed.num_classes,
            packed.image_size,
            drop_rate=train.drop_rate,
            drop_path_rate=train.drop_path_rate,
        )


@cache
def backbone_bytes(arch: str, num_classes: int, image_size: int) -> int:
    """Return a bound on the bytes a trained network takes on disk."""
    with without_memory():
        return model_bytes(Backbone(arch, num_classes, image_size), names=num_classes)


def describe_backbone(arch: str, batches: ImageBatches) -> dict[str, object]:
    """Return what `load_backbone` needs beside the weights."""
    return {
        "arch": arch,
        "num_classes": len(batches.classes),
        "image_size": int(batches.images.shape[-1]),
        "classes": list(batches.classes),
        "mean": list(batches.mean),
        "std": list(batches.std),
    }


def load_backbone(path: Path, device: torch.device) -> Backbone:
    """Return the trained network in an artifact's folder, in evaluation mode."""
    about = load_description(path)
    with without_draws():
        model = Backbone(about["arch"], about["num_classes"], about["image_size"])
    load_weights(model, path)
    return model.to(device).eval()
