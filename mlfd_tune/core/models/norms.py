"""Norm layers of the fusion blocks: batch norm, group norm that fits any width, layer norm."""

from __future__ import annotations

import math
from typing import Literal, get_args

from torch import Tensor, nn

from mlfd_tune.core.errors import allowed_values
from mlfd_tune.core.models.errors import ModelChoiceError

__all__ = ["ChannelNorm", "NormKind", "make_norm"]

NormKind = Literal["batch", "group", "layer"]
"""`batch` as in the paper; `group` and `layer` do not mix the images of a batch, so that batches of
one dataset each do no harm. `layer` does not mix the positions of a map either (ConvNeXt)."""

_MOST_GROUPS = 32
_LEAST_CHANNELS = 16


def make_norm(kind: NormKind, channels: int, *, spatial: bool) -> nn.Module:
    """Return a norm over `channels`, for maps ``(N, C, H, W)`` or vectors ``(N, C)``.

    Raises:
        ModelChoiceError: There is no such norm.
    """
    if kind == "batch":
        return nn.BatchNorm2d(channels) if spatial else nn.BatchNorm1d(channels)
    if kind == "group":
        return nn.GroupNorm(_groups(channels), channels)
    if kind == "layer":
        return ChannelNorm(channels) if spatial else nn.LayerNorm(channels)
    raise ModelChoiceError(f"unknown norm {kind!r} {allowed_values(kind, get_args(NormKind))}")


class ChannelNorm(nn.LayerNorm):
    """Layer norm over the channels at each position of a map (Liu et al., 2022: ConvNeXt).

    Args:
        channels: The channels of the maps.
    """

    def __init__(self, channels: int) -> None:
        super().__init__(channels)

    def forward(self, maps: Tensor) -> Tensor:
        """Map ``(N, C, H, W)`` to the same shape."""
        return super().forward(maps.movedim(1, -1)).movedim(-1, 1)


def _groups(channels: int) -> int:
    # A group of one channel at one position normalises to zero whatever comes in, and small
    # images end in 1x1 maps: so every group has at least 16 channels, where there are as many.
    return math.gcd(channels, min(_MOST_GROUPS, max(1, channels // _LEAST_CHANNELS)))
