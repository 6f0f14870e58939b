"""Losses are summed in single precision at least, whatever the networks compute in."""

from __future__ import annotations

import torch
from torch import Tensor

__all__ = ["full_precision", "without_autocast"]


def full_precision(x: Tensor) -> Tensor:
    """Return `x` in float32, or as it is if it is float64."""
    return x if x.dtype == torch.float64 else x.float()


def without_autocast(x: Tensor) -> torch.autocast:
    """Return a context in which products of tensors like `x` keep their precision.

    Autocast would otherwise compute matrix products in half precision, float32 inputs included.
    """
    return torch.autocast(x.device.type, enabled=False)
