"""Bringing distillation targets to a known scale, so that a beta means the same for every teacher.

The feature term of Eq. 3 is a plain mean squared error, which grows with the square of the
targets' scale.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from mlfd_tune.core.channel_moments import ChannelMoments
from mlfd_tune.core.errors import UserError, allowed_values

__all__ = ["TargetNorm", "target_norm_kinds"]

KINDS = ("none", "standardise", "layernorm", "l2")
_TINY = 1e-6


def target_norm_kinds() -> tuple[str, ...]:
    """Return the name of every target norm."""
    return KINDS


class TargetNorm(nn.Module):
    """Normalises targets ``(N, C)`` or ``(N, C, H, W)``; gives float32, or float64 for float64.

    * ``none``: as they are, the paper's form.
    * ``standardise``: each channel less its mean, over its standard deviation, both over the
      images and positions of the training targets. A channel that is constant there becomes zero.
    * ``layernorm``: each sample less its mean, over its standard deviation, over all its elements.
    * ``l2``: each sample scaled to a mean square of 1, which is unit L2 norm times the root of its
      number of elements, so that the size of a map does not change the scale of the loss.

    Args:
        kind: One of `target_norm_kinds`.
        mean: Per channel ``(C,)``; for ``standardise`` only.
        std: Per channel ``(C,)``; for ``standardise`` only.

    Raises:
        UserError: When the kind is unknown.
    """

    mean: Tensor | None
    std: Tensor | None

    def __init__(self, kind: str, mean: Tensor | None = None, std: Tensor | None = None) -> None:
        super().__init__()
        if kind not in KINDS:
            raise UserError(f"unknown target_norm {kind!r} {allowed_values(kind, KINDS)}")
        if kind == "standardise" and (mean is None or std is None):
            raise ValueError("target_norm 'standardise' needs mean and std: use TargetNorm.fit")
        self.kind = kind
        self.register_buffer("mean", mean)
        self.register_buffer("std", std)

    @property
    def elementwise(self) -> bool:
        """Whether a value's result depends on its channel alone, and not on its sample's others.

        So targets may be normalised all at once as well as by the batch, to the same bits.
        """
        return self.kind in ("none", "standardise")

    @classmethod
    def fit(
        cls,
        kind: str,
        features: Tensor | np.ndarray[Any, Any],
        batch_size: int = 1024,
    ) -> TargetNorm:
        """Return the norm for the training targets `features`.

        Args:
            kind: One of `target_norm_kinds`; only ``standardise`` reads the features.
            features: ``(N, C)`` or ``(N, C, H, W)``, a tensor or a (memory-mapped) array.
            batch_size: Images read at once.
        """
        if kind != "standardise":
            return cls(kind)
        moments = _moments(features, batch_size)
        mean, std = moments.mean, moments.variance.sqrt()
        std = torch.where(std > _TINY, std, torch.ones_like(std))
        return cls(kind, mean.float(), std.float())

    def forward(self, x: Tensor) -> Tensor:
        """Return the normalised targets, of the same shape."""
        x = x if x.dtype == torch.float64 else x.float()
        if self.kind == "standardise":
            return self._standardise(x)
        if self.kind == "layernorm":
            centred = x - x.mean(dim=_sample_dims(x), keepdim=True)
            return centred / _root_mean_square(centred)
        if self.kind == "l2":
            return x / _root_mean_square(x)
        return x

    def _standardise(self, x: Tensor) -> Tensor:
        assert self.mean is not None
        assert self.std is not None
        shape = (1, -1) + (1,) * (x.ndim - 2)
        mean, std = self.mean.to(x).view(shape), self.std.to(x).view(shape)
        return (x - mean) / std


def _root_mean_square(x: Tensor) -> Tensor:
    return x.square().mean(dim=_sample_dims(x), keepdim=True).sqrt().clamp_min(_TINY)


def _sample_dims(x: Tensor) -> tuple[int, ...]:
    return tuple(range(1, x.ndim))


def _moments(features: Tensor | np.ndarray[Any, Any], batch_size: int) -> ChannelMoments:
    moments = ChannelMoments()
    for first in range(0, len(features), batch_size):
        batch = features[first : first + batch_size]
        moments.update(
            batch
            if isinstance(batch, Tensor)
            else torch.as_tensor(np.array(batch, dtype=np.float64))
        )
    if not moments.count:
        raise ValueError("target_norm 'standardise': there are no targets to fit to")
    return moments
