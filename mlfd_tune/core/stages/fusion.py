"""Fusing features: what decides a joint teacher, its samples and its loss."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

import numpy as np
import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor

from mlfd_tune.core.losses import LossTerms, cross_entropy_terms
from mlfd_tune.core.metrics import AccuracyMeter
from mlfd_tune.core.models import Alignment, FusionSize, JointTeacher, NormKind
from mlfd_tune.core.spec import Spec
from mlfd_tune.core.stages.feature_sources import FeatureSource
from mlfd_tune.core.training import (
    SamplingPolicy,
    Task,
    TrainSpec,
    mixed_order,
    sampling_shares,
)

__all__ = ["FusionSpec", "FusionTask", "JointTeacherSpec"]


class FusionSpec(Spec):
    """How features are fused, whatever teachers they come from."""

    added_later: ClassVar[frozenset[str]] = frozenset(
        {"residual", "alignment", "fuse_at", "depth", "extensions"}
    )

    levels: tuple[str, ...]
    adaptor: str
    width: int
    dropout: float
    norm: NormKind
    channels: dict[str, int]
    residual: bool = False
    alignment: Alignment = "pool"
    fuse_at: FusionSize = "largest"
    depth: int = 1
    extensions: dict[str, str] = Field({})


class JointTeacherSpec(Spec):
    """Identity of a joint teacher, beside its teachers' features."""

    added_later: ClassVar[frozenset[str]] = frozenset({"sampling", "sampling_temperature"})

    fusion: FusionSpec
    datasets: tuple[str, ...]
    train: TrainSpec
    seed: int
    sampling: SamplingPolicy = "proportional"
    sampling_temperature: float | None = None


class FusionTask(Task):
    """A joint teacher learning the labels of its datasets, all of them mixed in every batch.

    Batches of one dataset each make batch norm erratic: the statistics jump from batch to batch.
    """

    def __init__(
        self,
        model: JointTeacher,
        training: Mapping[str, FeatureSource],
        validation: Mapping[str, FeatureSource],
        spec: JointTeacherSpec,
    ) -> None:
        self.model: JointTeacher = model
        self.training = training
        self.validation = validation
        self.spec = spec
        self.device = next(model.parameters()).device
        # Sample i of the pool is sample i - starts[d] of the dataset d whose range holds it.
        self.starts = np.cumsum([0, *(len(features) for features in training.values())])
        self.size = int(self.starts[-1])

    def order(self, generator: torch.Generator) -> Tensor:
        """Return an epoch's samples, as many of each dataset as the sampling policy says."""
        if self.spec.sampling == "proportional":
            return super().order(generator)
        sizes = [len(cached) for cached in self.training.values()]
        shares = sampling_shares(sizes, self.spec.sampling, self.spec.sampling_temperature)
        return mixed_order(sizes, shares, generator)

    def loss(self, indices: Tensor, augment: torch.Generator) -> LossTerms:  # noqa: D102
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
            terms = cross_entropy_terms(logits, labels, self.spec.train.label_smoothing)
            total = total + terms.total * (len(labels) / len(pool))
            first += len(labels)
        return LossTerms(total, {"loss": total.detach(), "loss_ce": total.detach()})

    @torch.inference_mode()
    def evaluate(self) -> dict[str, float]:  # noqa: D102
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
