"""What UNIC learns: several frozen teachers' features at once, and the labels.

Source: "UNIC: Universal Classification Models via Multi-teacher Distillation" (ECCV 2024,
arXiv 2408.05088).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager, nullcontext

import torch
from pydantic import field_validator
from torch import Tensor, nn

from mlfd_tune.core.data import PackedDataset
from mlfd_tune.core.feature_statistics import MOMENTUM_END, FeatureStandardiser, momentum_at
from mlfd_tune.core.losses import (
    DroppingPolicy,
    LossTerms,
    cross_entropy_terms,
    dropped_loss,
    teacher_weights,
    unic_feature_loss,
)
from mlfd_tune.core.losses.terms import sum_up
from mlfd_tune.core.models import Backbone
from mlfd_tune.core.models.ladder import LadderOfProjectors, TokenType
from mlfd_tune.core.models.levels import EMBEDDING
from mlfd_tune.core.models.timm_models import classifiers
from mlfd_tune.core.seeding import RandomStreams
from mlfd_tune.core.spec import Spec
from mlfd_tune.core.stages.feature_sources import Rows
from mlfd_tune.core.stages.student import StudentTask
from mlfd_tune.core.training import TrainSpec, whole_batches

__all__ = ["TeacherFeatures", "UnicSpec", "UnicTask", "features_apart_from_labels"]


class UnicSpec(Spec):
    """What a student learns from which teachers; the order of teachers or token types is no part.

    Attributes:
        teachers: Their names.
        rungs: The student's levels that the ladder projects.
        token_types: What of each teacher is predicted.
        map_level: The teachers' level that is the token type ``map``.
        hidden: Hidden units of a projector.
        last_hidden: Hidden units of the last rung's projector.
        dropping: Which teachers are dropped for an image (`teacher_weights`).
        drop_rate: The probability with which a teacher that may be dropped is.
        weight: Of the distillation loss.
        ce_weight: Of the cross-entropy with the labels.
        labels: Whether the labels reach the whole student. If not, the cross-entropy trains the
            classifier alone, as a linear probe that goes along; the features learn from the
            teachers only. (`TrainSpec.clip_grad` clips the norm over all weights, the
            classifier's among them.)
        momentum_end: Where the momentum of the teachers' statistics ends.
    """

    teachers: tuple[str, ...]
    rungs: tuple[str, ...]
    token_types: tuple[TokenType, ...]
    map_level: str
    hidden: int
    last_hidden: int
    dropping: DroppingPolicy
    drop_rate: float = 0.5
    weight: float = 1.0
    ce_weight: float = 1.0
    labels: bool
    momentum_end: float = MOMENTUM_END

    @field_validator("teachers", "token_types")
    @classmethod
    def _sorted(cls, names: tuple[str, ...]) -> tuple[str, ...]:
        return tuple(sorted(set(names)))

    def level_of(self, token_type: TokenType) -> str:
        """Return the teachers' level that a token type is taken from."""
        return self.map_level if token_type == "map" else EMBEDDING


class TeacherFeatures:
    """What every teacher sees in the clean training images.

    Args:
        rows: By teacher and token type, its features at the level the token type is taken from.
    """

    def __init__(self, rows: Mapping[str, Mapping[TokenType, Rows]]) -> None:
        self.rows = rows

    def shapes(self) -> dict[str, dict[TokenType, tuple[int, ...]]]:
        """Return the shape of one image's features: ``(D,)``, or ``(D, H, W)`` of a map."""
        return {
            teacher: {token_type: each.shape for token_type, each in rows.items()}
            for teacher, rows in self.rows.items()
        }

    def gather(self, indices: Tensor) -> dict[str, dict[TokenType, Tensor]]:
        """Return the features ``(N, D)``, or ``(N, L, D)`` of a map, of the samples `indices`."""
        return {
            teacher: {
                token_type: _tokens(each.gather(indices)) for token_type, each in rows.items()
            }
            for teacher, rows in self.rows.items()
        }


class UnicTask(StudentTask):
    """A student learning several teachers' features at once, and the labels.

    The student sees augmented images; the features come from clean ones (offline distillation).
    """

    def __init__(
        self,
        student: Backbone,
        ladder: LadderOfProjectors,
        data: PackedDataset,
        features: TeacherFeatures,
        unic: UnicSpec,
        train: TrainSpec,
        streams: RandomStreams,
    ) -> None:
        shapes = features.shapes()
        self.standardisers = {
            (teacher, token_type): FeatureStandardiser(shapes[teacher][token_type][0])
            for teacher, token_type in ladder.predicts
        }
        device = next(student.parameters()).device
        statistics = nn.ModuleList(self.standardisers.values()).to(device)
        super().__init__(student, data, train, {"ladder": ladder, "statistics": statistics})
        self.ladder = ladder
        self.features = features
        self.unic = unic
        self.streams = streams
        self.begin_epoch(1, train.epochs)

    def begin_epoch(self, epoch: int, epochs: int) -> None:
        """Set the draws of teacher dropping and the place in the training by the epoch alone."""
        batches = whole_batches(self.size, self.train.batch_size, self.train.accumulate)
        self.batch = (epoch - 1) * batches
        self.last_batch = max(epochs * batches - 1, 1)
        self.dropping = self.streams.torch(f"teacher_dropping/{epoch}")

    def loss(self, indices: Tensor, augment: torch.Generator) -> LossTerms:  # noqa: D102
        unic = self.unic
        images, labels = self.training.augmented(indices, self.train.augment, augment)
        with nullcontext() if unic.labels else features_apart_from_labels(self.student):
            logits, features = self.student(images, levels=unic.rungs)
        ce = cross_entropy_terms(logits, labels, self.train.label_smoothing).total
        with nullcontext() if unic.weight else torch.no_grad():
            losses = self._teacher_losses(features, indices)
            weights = teacher_weights(losses, unic.dropping, unic.drop_rate, self.dropping)
            distillation = dropped_loss(losses, weights)
        means, kept = losses.detach().mean(dim=0), (weights > 0).float().mean(dim=0)
        logged = {}
        for column, teacher in enumerate(self.ladder.teachers):
            logged[f"loss_teacher/{teacher}"] = means[column]
            logged[f"kept_teacher/{teacher}"] = kept[column]
        terms = [(unic.ce_weight, "loss_ce", ce), (unic.weight, "loss_unic", distillation)]
        return sum_up(terms, logged)

    def _teacher_losses(self, features: Mapping[str, Tensor], indices: Tensor) -> Tensor:
        """Return each image's loss under each teacher ``(N, T)``: the mean over token types."""
        momentum = momentum_at(min(self.batch / self.last_batch, 1.0), self.unic.momentum_end)
        self.batch += 1
        predicted, seen = self.ladder(features), self.features.gather(indices)
        losses: dict[str, list[Tensor]] = {teacher: [] for teacher in self.ladder.teachers}
        for (teacher, token_type), standardiser in self.standardisers.items():
            target = seen[teacher][token_type]
            if standardiser.training:
                standardiser.update(target, momentum)
            loss = unic_feature_loss(predicted[teacher][token_type], standardiser(target))
            losses[teacher].append(loss)
        return torch.stack([torch.stack(each).mean(dim=0) for each in losses.values()], dim=1)


@contextmanager
def features_apart_from_labels(student: Backbone) -> Iterator[None]:
    """Let no gradient of the logits go beyond the classifier inside the block.

    The classifier takes the same values, after the same dropout, in the same one pass, so that
    batch norm and the draws of dropout are those of a student that learns the labels.
    """
    # After the backbone's own hook, which takes the embedding for the teachers with its gradient.
    handles = [
        classifier.register_forward_pre_hook(lambda _, inputs: inputs[0].detach())
        for classifier in classifiers(student.model)
    ]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def _tokens(values: Tensor) -> Tensor:
    return values.flatten(2).transpose(1, 2) if values.ndim == 4 else values
