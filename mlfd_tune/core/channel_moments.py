"""Mean and variance of channels over data that pass by batch after batch."""

from __future__ import annotations

import torch
from torch import Tensor

__all__ = ["ChannelMoments"]


class ChannelMoments:
    """Each channel's mean and population variance, merged batch by batch in float64.

    Chan, Golub and LeVeque (1983): unlike the mean of squares less the square of the mean, it
    keeps its digits where a channel's mean is large beside its spread.

    Attributes:
        count: Values of a channel so far.
        mean: (C,), float64 on the CPU.
    """

    def __init__(self) -> None:
        self.count = 0
        self.mean = self._square_sum = torch.zeros((), dtype=torch.float64)

    def update(self, batch: Tensor) -> None:
        """Add a batch ``(N, C)`` or ``(N, C, H, W)``."""
        values = batch.detach().double().cpu().transpose(0, 1).flatten(1)
        added = values.shape[1]
        difference = values.mean(dim=1) - self.mean
        within = values.var(dim=1, correction=0) * added
        weight = self.count * added / (self.count + added)
        self._square_sum = self._square_sum + within + difference.square() * weight
        self.mean = self.mean + difference * (added / (self.count + added))
        self.count += added

    @property
    def variance(self) -> Tensor:
        """(C,), float64 on the CPU.

        Raises:
            ValueError: There was no batch.
        """
        if not self.count:
            raise ValueError("there are no values to take the moments of")
        return self._square_sum / self.count
