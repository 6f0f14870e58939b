"""Stage `student` of the methods that distil logits and features by Eq. 3."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar, Literal

import torch
from pydantic import Field
from torch import Tensor

from mlfd_tune.core.caching import Caching
from mlfd_tune.core.data import PackedDataset
from mlfd_tune.core.losses import (
    FEATURE_LOSSES,
    LossTerms,
    WeightSchedule,
    distillation_loss,
)
from mlfd_tune.core.models import Alignment, Backbone, StudentAdaptors
from mlfd_tune.core.numeric import fixed_threads
from mlfd_tune.core.seeding import RandomStreams
from mlfd_tune.core.spec import Spec
from mlfd_tune.core.stages.dataset import DatasetStage
from mlfd_tune.core.stages.student import StudentStage, StudentTask
from mlfd_tune.core.stages.target_files import TargetsView, targets_bytes
from mlfd_tune.core.stages.target_sources import (
    TargetsInMemory,
    TargetsOnTheFly,
    TargetSource,
)
from mlfd_tune.core.stages.targets import TargetsStage
from mlfd_tune.core.stages.teacher_targets import TeacherTargetsStage
from mlfd_tune.core.stages.trial_stage import StudentSpec
from mlfd_tune.core.store import Artifact, Stage
from mlfd_tune.core.store.stage import read_below
from mlfd_tune.core.training import TrainSpec

__all__ = ["DistillationSpec", "DistilledSpec", "DistilledStudentStage"]

_TARGETS = "targets"


class DistillationSpec(Spec):
    """The terms of Eq. 3 and their coefficients, with one beta for every distilled level."""

    added_later: ClassVar[frozenset[str]] = frozenset(
        {
            "alpha_schedule",
            "beta_schedule",
            "logit_loss",
            "standardise_logits",
            "feature_loss",
            "residual",
            "alignment",
            "extensions",
        }
    )

    alpha: float
    beta: dict[str, float]
    temperature: float
    ce_weight: float
    target_norm: Literal["none", "standardise", "layernorm", "l2"]
    adaptor: str
    alpha_schedule: WeightSchedule = WeightSchedule()
    beta_schedule: WeightSchedule = WeightSchedule()
    logit_loss: Literal["soft_ce", "kl"] = "soft_ce"
    standardise_logits: bool = False
    feature_loss: str = "mse"
    residual: bool = False
    alignment: Alignment = "pool"
    extensions: dict[str, str] = Field({})


class DistilledSpec(StudentSpec):
    """Identity of a distilled student, beside its dataset and its targets."""

    distillation: DistillationSpec


class DistillationTask(StudentTask):
    """A student learning labels, a teacher's logits and its features (Eq. 3).

    The student sees augmented images; the targets come from clean ones (offline distillation).
    """

    def __init__(
        self,
        student: Backbone,
        adaptors: StudentAdaptors,
        data: PackedDataset,
        targets: TargetSource,
        distillation: DistillationSpec,
        train: TrainSpec,
    ) -> None:
        super().__init__(student, data, train, {"adaptors": adaptors})
        self.adaptors = adaptors
        self.targets = targets
        self.distillation = distillation
        self.feature_loss = FEATURE_LOSSES[distillation.feature_loss]()
        self.begin_epoch(1, 1)

    def begin_epoch(self, epoch: int, epochs: int) -> None:
        """Set alpha and beta as their schedules say."""
        chosen = self.distillation
        share = chosen.beta_schedule.factor(epoch, epochs)
        self.alpha = chosen.alpha * chosen.alpha_schedule.factor(epoch, epochs)
        self.beta = {level: weight * share for level, weight in chosen.beta.items()}

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
            alpha=self.alpha,
            beta=self.beta,
            temperature=settings.temperature,
            ce_weight=settings.ce_weight,
            label_smoothing=self.train.label_smoothing,
            logit_loss=settings.logit_loss,
            standardise_logits=settings.standardise_logits,
            feature_loss=self.feature_loss,
        )


class DistilledStudentStage(StudentStage):
    """Trains a student on the targets of a joint teacher, or of one network.

    Targets that are not stored are computed when its training starts, if they fit into memory, and
    else for every batch (`target_sources`).

    Args:
        data: The packed dataset.
        spec: The student's identity.
        targets: What it is taught.
    """

    version = 2  # of plain transformers, levels by depth
    spec: DistilledSpec
    caching: Caching = Caching()

    def __init__(
        self,
        data: DatasetStage,
        spec: DistilledSpec,
        targets: TargetsStage | TeacherTargetsStage,
    ) -> None:
        super().__init__(data, spec)
        self.targets = targets

    def lessons(self) -> dict[str, Stage]:
        """Return the targets."""
        return {_TARGETS: self.targets}

    def task(  # noqa: D102
        self,
        student: Backbone,
        data: PackedDataset,
        lessons: Mapping[str, Artifact],
        streams: RandomStreams,
    ) -> StudentTask:
        spec, chosen = self.spec, self.spec.distillation
        levels, device = tuple(chosen.beta), next(student.parameters()).device
        with fixed_threads(spec.train.threads):  # fitting the norm sums over the targets
            targets = self._open_targets(lessons, levels, device)
        with streams.as_global("init/adaptors"):
            adaptors = StudentAdaptors(
                {level: student.level_shapes[level] for level in levels},
                targets.shapes(),
                levels,
                kind=chosen.adaptor,
                residual=chosen.residual,
                alignment=chosen.alignment,
                compares=FEATURE_LOSSES[chosen.feature_loss].compares,
            ).to(device)
        return DistillationTask(student, adaptors, data, targets, chosen, spec.train)

    def _open_targets(
        self, lessons: Mapping[str, Artifact], levels: tuple[str, ...], device: torch.device
    ) -> TargetSource:
        norm = self.spec.distillation.target_norm
        if self.targets.stored:
            return TargetsView(lessons[_TARGETS].path, norm, levels, device)
        maker = self.targets.maker(read_below(lessons, _TARGETS), device)
        shapes = {level: self.targets.out_shapes[level] for level in levels}
        if self.caching.fits_memory(targets_bytes(shapes, self.data.num_classes, len(maker))):
            return TargetsInMemory(maker, norm, levels, device)
        return TargetsOnTheFly(maker, norm, levels, device)
