"""Images of the datasets beside the target, for training on several at once."""

from __future__ import annotations

import torch
from torch import Tensor

from mlfd_tune.core.data import AugmentSpec, PackedDataset
from mlfd_tune.core.seeding import RandomStreams
from mlfd_tune.core.stages.images import ImageBatches
from mlfd_tune.core.training.sampling import Passes

__all__ = ["OtherImages"]


class OtherImages:
    """Training images of a dataset beside the target, in passes that go on over the epochs.

    Args:
        name: What the dataset is called.
        data: The packed dataset.
        streams: The training's random streams; these images draw from streams of their own, so
            that the target's draws stay those of every other arm.
        device: Where batches go.
    """

    def __init__(
        self, name: str, data: PackedDataset, streams: RandomStreams, device: torch.device
    ) -> None:
        self.name = name
        self.streams = streams
        self.images = ImageBatches(data, "train", device)
        self.passes = Passes(len(self.images), lambda n: streams.torch(f"order/{name}/{n}"))
        self.begin_epoch(1, 0)

    def begin_epoch(self, epoch: int, position: int) -> None:
        """Go to `position`, the number of images taken in all epochs before."""
        self.position = position
        self.augment = self.streams.torch(f"augment/{self.name}/{epoch}")

    def take(self, count: int, augment: AugmentSpec) -> tuple[Tensor, Tensor]:
        """Return the next images (count, 3, H, W), augmented, and their labels (count,)."""
        indices = self.passes.at(self.position, count)
        self.position += count
        return self.images.augmented(indices, augment, self.augment)
