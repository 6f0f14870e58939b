"""Stage `joint_teacher`: the teachers' features fused and trained (Algorithm 1, steps 8-14)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from mlfd_tune.core.data import PackedDataset
from mlfd_tune.core.losses import LossTerms, cross_entropy_terms
from mlfd_tune.core.metrics import AccuracyMeter
from mlfd_tune.core.models import JointTeacher, fusion_depth, joint_out_shapes
from mlfd_tune.core.seeding import RandomStreams
from mlfd_tune.core.spec import Spec
from mlfd_tune.core.stages.dataset import DatasetStage
from mlfd_tune.core.stages.features import FeaturesStage
from mlfd_tune.core.stages.model_files import (
    load_description,
    load_weights,
    model_bytes,
    save_model,
    without_draws,
    without_memory,
)
from mlfd_tune.core.stages.teacher import TeacherStage
from mlfd_tune.core.stages.training_stage import TrainingStage
from mlfd_tune.core.store import Artifact, Stage
from mlfd_tune.core.training import Trainer, TrainSpec

__all__ = ["FusionSpec", "JointTeacherSpec", "JointTeacherStage", "load_joint_teacher"]

FEATURE_BATCH = 512


class FusionSpec(Spec):
    """How features are fused, whatever teachers they come from."""

    levels: tuple[str, ...]
    adaptor: str
    width: int
    dropout: float
    norm: Literal["batch", "group"]
    channels: dict[str, int]


class JointTeacherSpec(Spec):
    """Identity of a joint teacher, beside its teachers' features."""

    fusion: FusionSpec
    datasets: tuple[str, ...]
    train: TrainSpec
    seed: int


class CachedFeatures:
    """Features of every teacher for one dataset's split, read from memory maps."""

    def __init__(
        self, inputs: Mapping[str, Artifact], teachers: Sequence[str], dataset: str, split: str
    ) -> None:
        self.arrays = {
            teacher: np.load(
                inputs[features_name(teacher, dataset)].path / f"{split}.npy", mmap_mode="r"
            )
            for teacher in teachers
        }
        packed = PackedDataset(inputs[f"dataset/{dataset}"].path)
        self.labels = torch.from_numpy(np.asarray(packed.labels(split))).long()

    def __len__(self) -> int:
        return len(self.labels)

    def gather(self, indices: np.ndarray, device: torch.device) -> dict[str, Tensor]:
        """Return float32 features (N, C[, H, W]) of the samples `indices`, by teacher."""
        return {
            teacher: torch.from_numpy(np.ascontiguousarray(array[indices])).to(device).float()
            for teacher, array in self.arrays.items()
        }

    def batches(self, device: torch.device) -> Iterator[tuple[dict[str, Tensor], Tensor]]:
        """Yield (features by teacher, labels) in order."""
        for first in range(0, len(self), FEATURE_BATCH):
            indices = np.arange(first, min(first + FEATURE_BATCH, len(self)))
            yield self.gather(indices, device), self.labels[first : first + FEATURE_BATCH]


class FusionTask:
    """A joint teacher learning the labels of its datasets, all of them mixed in every batch."""

    def __init__(
        self,
        model: JointTeacher,
        training: Mapping[str, CachedFeatures],
        validation: Mapping[str, CachedFeatures],
        train: TrainSpec,
    ) -> None:
        self.model = model
        self.training = training
        self.validation = validation
        self.train = train
        self.device = next(model.parameters()).device
        # Sample i of the pool is sample i - starts[d] of the dataset d whose range holds it.
        self.starts = np.cumsum([0, *(len(features) for features in training.values())])
        self.size = int(self.starts[-1])

    def loss(self, indices: Tensor, augment: torch.Generator) -> LossTerms:
        pool = indices.numpy()
        parts, rows = [], []
        for number, (dataset, cached) in enumerate(self.training.items()):
            own = pool[(pool >= self.starts[number]) & (pool < self.starts[number + 1])]
            own = own - self.starts[number]
            if len(own):
                parts.append(cached.gather(own, self.device))
                rows.append((dataset, cached.labels[own].to(self.device)))
        mixed = {teacher: torch.cat([part[teacher] for part in parts]) for teacher in parts[0]}
        embedding = self.model(mixed)["embedding"]
        total = torch.zeros((), device=self.device)
        first = 0
        for dataset, labels in rows:
            logits = self.model.logits(embedding[first : first + len(labels)], dataset)
            terms = cross_entropy_terms(logits, labels, self.train.label_smoothing)
            total = total + terms.total * (len(labels) / len(pool))
            first += len(labels)
        return LossTerms(total, {"loss": total.detach(), "loss_ce": total.detach()})

    @torch.inference_mode()
    def evaluate(self) -> dict[str, float]:
        metrics: dict[str, float] = {}
        for dataset, cached in self.validation.items():
            meter, loss = AccuracyMeter(), 0.0
            for features, labels in cached.batches(self.device):
                labels = labels.to(self.device)
                logits = self.model.logits(self.model(features)["embedding"], dataset)
                meter.update(logits, labels)
                loss += float(F.cross_entropy(logits, labels, reduction="sum"))
            for name, value in meter.compute().items():
                metrics[f"val/{name}/{dataset}"] = value
            metrics[f"val/loss/{dataset}"] = loss / max(len(cached), 1)
        for name in ("acc1", "acc5", "loss"):
            values = [metrics[f"val/{name}/{dataset}"] for dataset in self.validation]
            metrics[f"val/{name}"] = sum(values) / len(values)
        return metrics


class JointTeacherStage(TrainingStage):
    """Trains a joint teacher on cached features.

    The order of teachers and datasets does not matter: both are taken by name.

    Args:
        teachers: The frozen teachers that are fused.
        features: Their features at the finest fused level, by (teacher, dataset) name.
        fusion: How they are fused.
        datasets: Whose labels it learns: all (shared heads) or one (a head per dataset).
        train: How to train it.
        seed: Seed of its random streams.
    """

    name = "joint_teacher"
    spec: JointTeacherSpec

    def __init__(
        self,
        teachers: Sequence[TeacherStage],
        features: Mapping[tuple[str, str], FeaturesStage],
        fusion: FusionSpec,
        datasets: Sequence[str],
        train: TrainSpec,
        seed: int,
    ) -> None:
        self.teachers = tuple(sorted(teacher.dataset for teacher in teachers))
        self.features = features
        self.spec = JointTeacherSpec(
            fusion=fusion, datasets=tuple(sorted(datasets)), train=train, seed=seed
        )

    @cached_property
    def inputs(self) -> dict[str, Stage]:  # noqa: D102
        stages: dict[str, Stage] = {}
        for dataset in self.spec.datasets:
            for teacher in self.teachers:
                stages[features_name(teacher, dataset)] = self.features[teacher, dataset]
            stages[f"dataset/{dataset}"] = self.data(dataset)
        return stages

    @property
    def label(self) -> str:  # noqa: D102
        count = len(self.teachers)
        teachers = f"{count} teachers" if count > 1 else "own teacher"
        depth, adaptor = fusion_depth(self.spec.fusion.levels), self.spec.fusion.adaptor
        return f"joint teacher {'+'.join(self.spec.datasets)} ({teachers}, {depth}, {adaptor})"

    @property
    def dataset(self) -> str | None:  # noqa: D102
        return self.spec.datasets[0] if len(self.spec.datasets) == 1 else None

    @property
    def epochs(self) -> int:  # noqa: D102
        return self.spec.train.epochs

    @cached_property
    def in_shapes(self) -> dict[str, tuple[int, ...]]:
        """Shape of one image's features at the finest level, by teacher."""
        dataset = self.spec.datasets[0]
        return {teacher: self.features[teacher, dataset].shape for teacher in self.teachers}

    @cached_property
    def out_shapes(self) -> dict[str, tuple[int, ...]]:
        """Shape of one image's distillation target at every fused level."""
        fusion = self.spec.fusion
        return joint_out_shapes(
            fusion.levels, fusion.channels, self.in_shapes, fusion.width, fusion.adaptor
        )

    def data(self, dataset: str) -> DatasetStage:
        """Return the stage that packs one of the datasets it learns."""
        return self.features[self.teachers[0], dataset].data

    def estimate_bytes(self) -> int:
        """The weights of adaptors, trunk and heads."""
        with without_memory():
            model = JointTeacher(**self._description())
        return model_bytes(model, names=len(self.teachers) + len(self.spec.datasets))

    def trainer(self, inputs: Mapping[str, Artifact], device: torch.device) -> Trainer:  # noqa: D102
        spec = self.spec
        streams = RandomStreams(spec.seed, "joint_teacher", "+".join(spec.datasets))
        with streams.as_global("init"):
            model = JointTeacher(**self._description()).to(device)
        cached = {
            split: {
                name: CachedFeatures(inputs, self.teachers, name, split) for name in spec.datasets
            }
            for split in ("train", "val")
        }
        task = FusionTask(model, cached["train"], cached["val"], spec.train)
        return Trainer(task, spec.train, streams, device)

    def save(self, trainer: Trainer, out: Path) -> None:  # noqa: D102
        assert isinstance(trainer.task, FusionTask)
        save_model(trainer.task.model, self._description(), out)

    def _description(self) -> dict[str, Any]:
        """Return what makes the network, for `JointTeacher` and for the file beside the weights."""
        fusion = self.spec.fusion
        return {
            "levels": fusion.levels,
            "in_shapes": self.in_shapes,
            "out_shapes": self.out_shapes,
            "num_classes": {name: self.data(name).num_classes for name in self.spec.datasets},
            "adaptor": fusion.adaptor,
            "width": fusion.width,
            "dropout": fusion.dropout,
            "norm": fusion.norm,
        }


def features_name(teacher: str, dataset: str) -> str:
    """Return the input name of one teacher's features of one dataset."""
    return f"features/{teacher}/{dataset}"


def load_joint_teacher(path: Path, device: torch.device) -> JointTeacher:
    """Return the joint teacher in an artifact's folder, in evaluation mode."""
    about = load_description(path)
    for shapes in ("in_shapes", "out_shapes"):
        about[shapes] = {name: tuple(shape) for name, shape in about[shapes].items()}
    about["levels"] = tuple(about["levels"])
    with without_draws():
        model = JointTeacher(**about)
    load_weights(model, path)
    return model.to(device).eval()
