"""What a distilled student learns: labels, a teacher's logits and its features, by Eq. 3."""

from __future__ import annotations

from typing import ClassVar, Literal

import torch
from pydantic import Field
from torch import Tensor

from mlfd_tune.core.data import PackedDataset
from mlfd_tune.core.losses import (
    FEATURE_LOSSES,
    LossTerms,
    WeightSchedule,
    distillation_loss,
)
from mlfd_tune.core.models import Alignment, Backbone, StudentAdaptors
from mlfd_tune.core.spec import Spec
from mlfd_tune.core.stages.student import StudentTask
from mlfd_tune.core.stages.target_sources import TargetSource
from mlfd_tune.core.training import TrainSpec

__all__ = ["DistillationSpec", "DistillationTask"]


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
            "teacher_view",
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
    teacher_view: Literal["clean", "augmented"] = "clean"


class DistillationTask(StudentTask):
    """A student learning labels, a teacher's logits and its features (Eq. 3).

    The student sees augmented images; what the targets are of, their source says.
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

    def loss(self, indices: Tensor, augment: torch.Generator) -> LossTerms:  # noqa: D102
        settings = self.distillation
        varied, labels = self.training.varied(indices, self.train.augment, augment)
        images = self.training.normalised(varied)
        target_logits, target_features = self.targets.taught(indices, varied)
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
