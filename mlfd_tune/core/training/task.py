"""What is trained: a model, its samples, their loss and how it is judged."""

from __future__ import annotations

from abc import ABC, abstractmethod

import torch
from torch import Tensor, nn

from mlfd_tune.core.losses import LossTerms

__all__ = ["Task"]


class Task(ABC):
    """What the training loop needs to know of a teacher, a joint teacher or a student.

    Attributes:
        model: Everything that is trained, adaptors included, on the device it trains on.
        size: Number of training samples in an epoch.
    """

    model: nn.Module
    size: int

    @abstractmethod
    def loss(self, indices: Tensor, augment: torch.Generator) -> LossTerms:
        """Return the loss terms of the training samples `indices` (int64, on CPU).

        Args:
            indices: Which samples, of shape (N,).
            augment: CPU generator of the augmentation draws.
        """

    @abstractmethod
    def evaluate(self) -> dict[str, float]:
        """Return metrics on the validation split, such as ``val/acc1`` in percent."""

    def order(self, generator: torch.Generator) -> Tensor:
        """Return the samples (size,) of one epoch in the order they are learned from."""
        return torch.randperm(self.size, generator=generator)

    def begin_epoch(self, epoch: int, epochs: int) -> None:  # noqa: B027  most need nothing
        """Prepare epoch `epoch` of `epochs`, counted from 1; for what changes over the training.

        What is drawn in an epoch depends on its number alone, so that a training that goes on from
        a checkpoint draws the same.
        """
