"""What is trained: a model, its samples, their loss and how it is judged."""

from __future__ import annotations

from typing import Protocol

import torch
from torch import Tensor, nn

from mlfd_tune.core.losses import LossTerms

__all__ = ["Task"]


class Task(Protocol):
    """What the training loop needs to know of a teacher, a joint teacher or a student.

    Attributes:
        size: Number of training samples.
    """

    size: int

    @property
    def model(self) -> nn.Module:
        """Everything that is trained, adaptors included, on the device it trains on."""

    def loss(self, indices: Tensor, augment: torch.Generator) -> LossTerms:
        """Return the loss terms of the training samples `indices` (int64, on CPU).

        Args:
            indices: Which samples, of shape (N,).
            augment: CPU generator of the augmentation draws.
        """

    def evaluate(self) -> dict[str, float]:
        """Return metrics on the validation split, such as ``val/acc1`` in percent."""
