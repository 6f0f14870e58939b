"""The samples of a batch as points, for losses that compare how they lie to each other."""

from __future__ import annotations

import torch
from torch import Tensor

__all__ = ["centred_samples"]

_ROUNDINGS = 10


def centred_samples(features: Tensor) -> Tensor:
    """Flatten features ``(N, ...)`` to ``(N, D)``, less their mean over the batch.

    The distances between samples stay as they are, and products of samples keep more digits. If the
    samples differ by no more than rounding, the result is exactly zero: there is nothing to learn
    from how they lie, and the scale-free losses would blow the rounding up.
    """
    samples = features.flatten(1)
    centred = samples - samples.mean(dim=0)
    rounding = _ROUNDINGS * torch.finfo(samples.dtype).eps
    differ = centred.square().sum() > rounding**2 * samples.square().sum()
    return torch.where(differ, centred, 0.0)
