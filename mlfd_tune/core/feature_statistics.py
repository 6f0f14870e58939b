"""Running statistics of a teacher's features, to bring all teachers to one scale while training.

UNIC (arXiv 2408.05088) distils features of any scale and takes no pass over the training set
before: mean and spread are learned on the way.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

__all__ = ["MOMENTUM_END", "FeatureStandardiser", "momentum_at"]

MOMENTUM_END = 0.001

_TINY = 1e-6


class FeatureStandardiser(nn.Module):
    """Subtracts each channel's running mean and divides by its running standard deviation.

    The statistics are buffers, so that a checkpoint holds them. They change in `update` alone.

    Args:
        channels: D, the channels of the features.

    Attributes:
        mean: Per channel ``(D,)``; 0 before the first update.
        std: Per channel ``(D,)``; 1 before the first update.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(channels))
        self.register_buffer("std", torch.ones(channels))

    @torch.no_grad()
    def update(self, features: Tensor, momentum: float) -> None:
        """Move the statistics towards those of a batch: ``(1 - m) * running + m * batch``.

        The batch's are taken over its images and positions, with the population's variance.

        Args:
            features: ``(N, D)`` or ``(N, L, D)``.
            momentum: m, the share of the batch. At 1 the batch's statistics are taken as they
                are, which is how a training begins (`momentum_at`).
        """
        variance, mean = torch.var_mean(features.float().flatten(0, -2), dim=0, correction=0)
        self.mean.lerp_(mean, momentum)
        self.std.lerp_(variance.sqrt(), momentum)

    def forward(self, features: Tensor) -> Tensor:
        """Return ``(N, D)`` or ``(N, L, D)`` standardised, in float32.

        A channel that has been constant becomes zero.
        """
        # Rounding gives a constant channel a spread, in proportion to its value.
        constant = self.std <= _TINY * (1 + self.mean.abs())
        std = torch.where(constant, torch.ones_like(self.std), self.std)
        return (features.float() - self.mean) / std


def momentum_at(progress: float, end: float = MOMENTUM_END) -> float:
    """Return the momentum of `FeatureStandardiser.update`: a cosine from 1 down to `end`.

    The first batch sets the statistics; at the end they hardly move, and with them the targets.

    Args:
        progress: The share of the training's batches that came before, in [0, 1].
        end: The momentum at the end; 0.001 in UNIC.
    """
    return end + (1 - end) * (1 + math.cos(math.pi * progress)) / 2
