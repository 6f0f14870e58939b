"""Stages `student` and `baseline`: one network for one dataset (Algorithm 1, steps 15-24)."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from torch import Tensor, nn

from mlfd_tune.core.data import PackedDataset
from mlfd_tune.core.losses import LossTerms, cross_entropy_terms, distillation_loss
from mlfd_tune.core.models import Backbone, StudentAdaptors
from mlfd_tune.core.numeric import fixed_threads
from mlfd_tune.core.seeding import RandomStreams
from mlfd_tune.core.spec import Spec
from mlfd_tune.core.stages.dataset import DatasetStage
from mlfd_tune.core.stages.images import ImageBatches, evaluate_classifier
from mlfd_tune.core.stages.model_files import save_model
from mlfd_tune.core.stages.targets import TargetsStage, level_file
from mlfd_tune.core.stages.teacher import backbone_bytes, build_backbone, describe_backbone
from mlfd_tune.core.stages.training_stage import TrainingStage
from mlfd_tune.core.store import Artifact, Stage
from mlfd_tune.core.target_norm import TargetNorm
from mlfd_tune.core.training import Trainer, TrainSpec

__all__ = ["DistillationSpec", "StudentSpec", "StudentStage", "TargetsView"]


class DistillationSpec(Spec):
    """The coefficients of Eq. 3, with one beta for every fused level."""

    alpha: float
    beta: dict[str, float]
    temperature: float
    ce_weight: float
    target_norm: Literal["none", "standardise", "layernorm", "l2"]
    adaptor: str


class StudentSpec(Spec):
    """Identity of a student, beside its dataset and its targets."""

    dataset: str
    arch: str
    distillation: DistillationSpec | None
    train: TrainSpec
    seed: int


class TargetsView:
    """A dataset's distillation targets, read from memory maps and normalised.

    Args:
        path: Folder of a `targets` artifact.
        norm: How targets are normalised.
        levels: Which levels to read.
        device: Where batches go.
    """

    def __init__(
        self, path: Path, norm: str, levels: tuple[str, ...], device: torch.device
    ) -> None:
        self.device = device
        self.logits = torch.from_numpy(np.load(path / "logits.npy"))
        self.arrays = {level: np.load(path / level_file(level), mmap_mode="r") for level in levels}
        self.norms = {level: TargetNorm.fit(norm, array) for level, array in self.arrays.items()}

    def shapes(self) -> dict[str, tuple[int, ...]]:
        """Return the shape of one image's target at every level."""
        return {level: tuple(array.shape[1:]) for level, array in self.arrays.items()}

    def gather(self, indices: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        """Return logits (N, K) and the normalised targets by level of the samples `indices`."""
        features = {}
        for level, array in self.arrays.items():
            batch = np.ascontiguousarray(array[indices.numpy()])
            values = torch.from_numpy(batch).to(self.device).float()
            features[level] = self.norms[level](values)
        return self.logits[indices].to(self.device), features


class BaselineTask:
    """The student's network learning the labels alone: the dataset-specific baseline."""

    def __init__(self, student: Backbone, data: PackedDataset, train: TrainSpec) -> None:
        device = next(student.parameters()).device
        self.student = student
        self.model: nn.Module = nn.ModuleDict({"student": student})
        self.train = train
        self.training = ImageBatches(data, "train", device)
        self.validation = ImageBatches(data, "val", device)
        self.size = len(self.training)

    def loss(self, indices: Tensor, augment: torch.Generator) -> LossTerms:
        images, labels = self.training.augmented(indices, self.train.augment, augment)
        logits, _ = self.student(images)
        return cross_entropy_terms(logits, labels, self.train.label_smoothing)

    def evaluate(self) -> dict[str, float]:
        return evaluate_classifier(self.student, self.validation, "val")


class DistillationTask(BaselineTask):
    """The student's network learning labels, the joint teacher's logits and its features (Eq. 3).

    The student sees augmented images; the targets come from clean ones (offline distillation).
    """

    def __init__(
        self,
        student: Backbone,
        adaptors: StudentAdaptors,
        data: PackedDataset,
        targets: TargetsView,
        distillation: DistillationSpec,
        train: TrainSpec,
    ) -> None:
        super().__init__(student, data, train)
        self.adaptors = adaptors
        self.model = nn.ModuleDict({"student": student, "adaptors": adaptors})
        self.targets = targets
        self.distillation = distillation

    def loss(self, indices: Tensor, augment: torch.Generator) -> LossTerms:
        settings = self.distillation
        images, labels = self.training.augmented(indices, self.train.augment, augment)
        target_logits, target_features = self.targets.gather(indices)
        logits, features = self.student(images, levels=tuple(target_features))
        return distillation_loss(
            logits,
            labels,
            target_logits,
            self.adaptors(features),
            target_features,
            alpha=settings.alpha,
            beta=settings.beta,
            temperature=settings.temperature,
            ce_weight=settings.ce_weight,
            label_smoothing=self.train.label_smoothing,
        )


class StudentStage(TrainingStage):
    """Trains a student, or the baseline when there are no targets.

    Every arm draws from the same random streams (role ``student``), so students, baselines and
    controls of one seed share initialisation, data order and augmentation.

    Args:
        data: The packed dataset.
        arch: Name of a timm model.
        train: How to train it.
        seed: Seed of its random streams.
        targets: What to distil; None for the dataset-specific baseline.
        distillation: The coefficients of Eq. 3; given exactly when there are targets.
    """

    name = "student"
    spec: StudentSpec

    def __init__(
        self,
        data: DatasetStage,
        arch: str,
        train: TrainSpec,
        seed: int,
        targets: TargetsStage | None = None,
        distillation: DistillationSpec | None = None,
    ) -> None:
        self.data = data
        self.targets = targets
        self.spec = StudentSpec(
            dataset=data.dataset, arch=arch, distillation=distillation, train=train, seed=seed
        )

    @property
    def stage_name(self) -> str:  # noqa: D102
        return "baseline" if self.targets is None else "student"

    @cached_property
    def inputs(self) -> dict[str, Stage]:  # noqa: D102
        stages: dict[str, Stage] = {"dataset": self.data}
        return stages if self.targets is None else stages | {"targets": self.targets}

    @property
    def label(self) -> str:  # noqa: D102
        return f"{self.stage_name} {self.spec.dataset} ({self.spec.arch}, seed {self.spec.seed})"

    @property
    def dataset(self) -> str:  # noqa: D102
        return self.spec.dataset

    @property
    def epochs(self) -> int:  # noqa: D102
        return self.spec.train.epochs

    def estimate_bytes(self) -> int:
        """The student's weights; adaptors are not kept."""
        return backbone_bytes(self.spec.arch, self.data.num_classes, self.data.spec.image_size)

    def trainer(self, inputs: Mapping[str, Artifact], device: torch.device) -> Trainer:  # noqa: D102
        spec = self.spec
        packed = PackedDataset(inputs["dataset"].path)
        streams = RandomStreams(spec.seed, "student", spec.dataset)
        student = build_backbone(spec.arch, packed, spec.train, streams).to(device)
        if spec.distillation is None:
            return Trainer(BaselineTask(student, packed, spec.train), spec.train, streams, device)
        levels = tuple(spec.distillation.beta)
        with fixed_threads(spec.train.threads):  # fitting the norm sums over the targets
            norm = spec.distillation.target_norm
            targets = TargetsView(inputs["targets"].path, norm, levels, device)
        with streams.as_global("init/adaptors"):
            adaptors = StudentAdaptors(
                {level: student.level_shapes[level] for level in levels},
                targets.shapes(),
                levels,
                kind=spec.distillation.adaptor,
            ).to(device)
        task = DistillationTask(student, adaptors, packed, targets, spec.distillation, spec.train)
        return Trainer(task, spec.train, streams, device)

    def save(self, trainer: Trainer, out: Path) -> None:
        """Write the student alone: adaptors serve the training only."""
        assert isinstance(trainer.task, BaselineTask)
        about = describe_backbone(self.spec.arch, trainer.task.training)
        save_model(trainer.task.student, about, out)
