"""What the baselines on several datasets learn: `multi_head` and `joint_head` (MLFD, sec. 4.2)."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping
from itertools import accumulate

import torch
from torch import Tensor, nn

from mlfd_tune.core.data import PackedDataset
from mlfd_tune.core.losses import LossTerms, cross_entropy_terms
from mlfd_tune.core.metrics import AccuracyMeter
from mlfd_tune.core.models import Backbone
from mlfd_tune.core.seeding import RandomStreams
from mlfd_tune.core.stages.multi_dataset_images import OtherImages
from mlfd_tune.core.stages.student import StudentTask
from mlfd_tune.core.training import (
    SamplingPolicy,
    TrainSpec,
    sampling_shares,
    whole_batches,
)

__all__ = ["JointHeadTask", "MultiDatasetTask", "MultiHeadTask"]


class MultiDatasetTask(StudentTask):
    """A student that learns the labels of other datasets beside its own.

    An epoch is one pass over the target's images, as for every student. Each other dataset has a
    linear head on the embedding, which is thrown away in the end.

    Args:
        student: The network that is kept; its classifier is the target's head.
        data: The target dataset.
        others: The other datasets, by name.
        train: How it is trained.
        streams: The training's random streams, which bear the target's name.
    """

    def __init__(
        self,
        student: Backbone,
        data: PackedDataset,
        others: Mapping[str, PackedDataset],
        train: TrainSpec,
        streams: RandomStreams,
    ) -> None:
        device = next(student.parameters()).device
        (width,) = student.level_shapes["embedding"]
        names = sorted(others)
        with streams.as_global("init/heads"):
            heads = nn.ModuleList(nn.Linear(width, others[name].num_classes) for name in names)
        super().__init__(student, data, train, {"heads": heads.to(device)})
        self.target = streams.dataset
        self.heads = dict(zip(names, heads, strict=True))
        self.others = {name: OtherImages(name, others[name], streams, device) for name in names}

    @abstractmethod
    def count(self, dataset: str, batch: int) -> int:
        """Return the images of another dataset that come with `batch` of the target's."""

    def begin_epoch(self, epoch: int, epochs: int) -> None:
        """Go to where the epochs before have left the other datasets."""
        train = self.train
        batches = (epoch - 1) * whole_batches(self.size, train.batch_size, train.accumulate)
        batch = min(train.batch_size, self.size)
        for name, other in self.others.items():
            other.begin_epoch(epoch, batches * self.count(name, batch))

    def batches(
        self, indices: Tensor, augment: torch.Generator
    ) -> dict[str, tuple[Tensor, Tensor]]:
        """Return augmented images (N, 3, H, W) and labels (N,) of every dataset, the target's last.

        The others come by name. A batch norm's running statistics weigh the last batch most, so
        the target's, with which it is evaluated, come last; the alphabet does not decide.
        """
        spec = self.train.augment
        batches = {
            name: other.take(self.count(name, len(indices)), spec)
            for name, other in self.others.items()
        }
        return {**batches, self.target: self.training.augmented(indices, spec, augment)}

    def logits(self, images: Tensor) -> dict[str, Tensor]:
        """Return every head's logits (N, K) of the same images, by dataset."""
        taken: list[Tensor] = []
        # All heads stand behind one dropout, as if they were one layer: what the student's own
        # classifier takes is read where it is made.
        hook = self.student.dropout.register_forward_hook(lambda _, __, out: taken.append(out))
        try:
            own, _ = self.student(images)
        finally:
            hook.remove()
        embedding = torch.cat([vector.flatten(1) for vector in taken], dim=1)
        return {self.target: own} | {name: head(embedding) for name, head in self.heads.items()}

    def cross_entropy(self, logits: Tensor, labels: Tensor) -> Tensor:
        """Return the mean cross-entropy of logits (N, K) with labels (N,), smoothed as asked."""
        return cross_entropy_terms(logits, labels, self.train.label_smoothing).total


class MultiHeadTask(MultiDatasetTask):
    """A head for every dataset, and in every step a batch of every dataset.

    The batches go through the network one after the other, each with batch statistics of its own;
    the loss is the mean of their cross-entropies, so that every dataset has the same weight.
    """

    def count(self, dataset: str, batch: int) -> int:
        """Return as many as of the target."""
        return batch

    def loss(self, indices: Tensor, augment: torch.Generator) -> LossTerms:
        """Return the mean of the datasets' losses, each on a batch of its own."""
        losses = {
            name: self.cross_entropy(self.logits(images)[name], labels)
            for name, (images, labels) in self.batches(indices, augment).items()
        }
        weights = dict.fromkeys(losses, 1 / len(losses))
        return _weighted_sum(losses, weights, own=losses[self.target])


class JointHeadTask(MultiDatasetTask):
    """One classifier over the union of all classes, and in every step one batch of all datasets.

    The classifier is all heads side by side, in order of the datasets' names.

    Args:
        student: The network that is kept; its classifier is the target's part of the union's.
        data: The target dataset.
        others: The other datasets, by name.
        train: How it is trained.
        streams: The training's random streams.
        sampling: How much of each dataset is in a batch.
        temperature: Of the policy ``temperature``.
    """

    def __init__(
        self,
        student: Backbone,
        data: PackedDataset,
        others: Mapping[str, PackedDataset],
        train: TrainSpec,
        streams: RandomStreams,
        *,
        sampling: SamplingPolicy,
        temperature: float | None = None,
    ) -> None:
        super().__init__(student, data, others, train, streams)
        every = {self.target: data, **others}
        names = sorted(every)
        shares = sampling_shares(
            [every[name].size("train") for name in names], sampling, temperature
        )
        self.shares = dict(zip(names, shares, strict=True))
        ends = accumulate(every[name].num_classes for name in names)
        self.first_class = dict(zip(names, [0, *ends], strict=False))

    def count(self, dataset: str, batch: int) -> int:
        """Return as many as the shares ask for, and at least one."""
        return max(round(batch * self.shares[dataset] / self.shares[self.target]), 1)

    def loss(self, indices: Tensor, augment: torch.Generator) -> LossTerms:
        """Return the loss of the mixed batch, each label being one of all datasets' classes."""
        batches = self.batches(indices, augment)
        logits = self.logits(torch.cat([images for images, _ in batches.values()]))
        union = _union(logits)
        losses, weights, first = {}, {}, 0
        for name, (_, labels) in batches.items():
            rows = union[first : first + len(labels)]
            losses[name] = self.cross_entropy(rows, labels + self.first_class[name])
            weights[name] = len(labels) / len(union)
            first += len(labels)
        with torch.no_grad():
            own = self.cross_entropy(logits[self.target][-len(indices) :], batches[self.target][1])
        return _weighted_sum(losses, weights, own)

    def evaluate(self) -> dict[str, float]:
        """Return the metrics of every student, and ``val/acc1_union`` in percent.

        Which dataset an image is from is known, so a prediction is the best of the target's
        classes; in ``val/acc1_union`` it is the best of all datasets'.
        """
        meter, first = AccuracyMeter(ks=(1,)), self.first_class[self.target]
        with torch.inference_mode():
            for images, labels in self.validation.clean():
                meter.update(_union(self.logits(images)), labels + first)
        return {**super().evaluate(), "val/acc1_union": meter.compute()["acc1"]}


def _union(logits: Mapping[str, Tensor]) -> Tensor:
    """Return logits (N, K) over the classes of all datasets, in order of the datasets' names."""
    return torch.cat([logits[name] for name in sorted(logits)], dim=1)


def _weighted_sum(
    losses: Mapping[str, Tensor], weights: Mapping[str, float], own: Tensor
) -> LossTerms:
    """Return the loss of all datasets.

    Args:
        losses: Each dataset's mean cross-entropy.
        weights: Each dataset's weight.
        own: The target's cross-entropy among its own classes, as every arm logs it.
    """
    total = torch.stack([weights[name] * loss for name, loss in losses.items()]).sum()
    parts = {f"loss_dataset/{name}": loss.detach() for name, loss in losses.items()}
    return LossTerms(total, {"loss": total.detach(), "loss_ce": own.detach(), **parts})
