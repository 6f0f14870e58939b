"""Norm layers of the fusion blocks: batch norm, or group norm that fits any width."""

from __future__ import annotations

import math
from typing import Literal

from torch import nn

__all__ = ["NormKind", "make_norm"]

NormKind = Literal["batch", "group"]
"""`batch` as in the paper; `group` does not mix the images of a batch, so that batches of one
dataset each do no harm."""

_MOST_GROUPS = 32
_LEAST_CHANNELS = 16


def make_norm(kind: NormKind, channels: int, *, spatial: bool) -> nn.Module:
    """Return a norm over `channels`, for maps ``(N, C, H, W)`` or vectors ``(N, C)``."""
    if kind == "group":
        return nn.GroupNorm(_groups(channels), channels)
    return nn.BatchNorm2d(channels) if spatial else nn.BatchNorm1d(channels)


def _groups(channels: int) -> int:
    # A group of one channel at one position normalises to zero whatever comes in, and small
    # images end in 1x1 maps: so every group has at least 16 channels, where there are as many.
    return math.gcd(channels, min(_MOST_GROUPS, max(1, channels // _LEAST_CHANNELS)))
