"""Stage `teacher`: one network trained on one dataset (Algorithm 1, steps 1-7)."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache, cached_property
from pathlib import Path

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
from mlfd_tune.core.stages.training_stage import TrainingStage
from mlfd_tune.core.store import Artifact, Stage
from mlfd_tune.core.training import Trainer, TrainSpec

__all__ = [
    "TeacherSpec",
    "TeacherStage",
    "backbone_bytes",
    "build_backbone",
    "describe_backbone",
    "load_backbone",
]


class TeacherSpec(Spec):
    """Identity of a teacher."""

    dataset: str
    arch: str
    train: TrainSpec
    seed: int


class ClassifierTask:
    """A backbone learning its dataset's labels."""

    def __init__(self, model: Backbone, data: PackedDataset, train: TrainSpec) -> None:
        device = next(model.parameters()).device
        self.model = model
        self.train = train
        self.training = ImageBatches(data, "train", device)
        self.validation = ImageBatches(data, "val", device)
        self.size = len(self.training)

    def loss(self, indices: Tensor, augment: torch.Generator) -> LossTerms:
        images, labels = self.training.augmented(indices, self.train.augment, augment)
        logits, _ = self.model(images)
        return cross_entropy_terms(logits, labels, self.train.label_smoothing)

    def evaluate(self) -> dict[str, float]:
        return evaluate_classifier(self.model, self.validation, "val")


class TeacherStage(TrainingStage):
    """Trains the teacher of one dataset from scratch.

    Args:
        data: The packed dataset.
        arch: Name of a timm model.
        train: How to train it.
        seed: Seed of its random streams.
    """

    name = "teacher"
    spec: TeacherSpec

    def __init__(self, data: DatasetStage, arch: str, train: TrainSpec, seed: int) -> None:
        self.data = data
        self.spec = TeacherSpec(dataset=data.dataset, arch=arch, train=train, seed=seed)

    @cached_property
    def inputs(self) -> dict[str, Stage]:  # noqa: D102
        return {"dataset": self.data}

    @property
    def label(self) -> str:  # noqa: D102
        return f"teacher {self.spec.dataset} ({self.spec.arch})"

    @property
    def dataset(self) -> str:  # noqa: D102
        return self.spec.dataset

    @property
    def epochs(self) -> int:  # noqa: D102
        return self.spec.train.epochs

    def estimate_bytes(self) -> int:
        """The network's weights."""
        return backbone_bytes(self.spec.arch, self.data.num_classes, self.data.spec.image_size)

    def trainer(self, inputs: Mapping[str, Artifact], device: torch.device) -> Trainer:  # noqa: D102
        packed = PackedDataset(inputs["dataset"].path)
        streams = RandomStreams(self.spec.seed, "teacher", self.spec.dataset)
        model = build_backbone(self.spec.arch, packed, self.spec.train, streams).to(device)
        task = ClassifierTask(model, packed, self.spec.train)
        return Trainer(task, self.spec.train, streams, device)

    def save(self, trainer: Trainer, out: Path) -> None:  # noqa: D102
        task = trainer.task
        assert isinstance(task, ClassifierTask)
        save_model(task.model, describe_backbone(self.spec.arch, task.training), out)


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
