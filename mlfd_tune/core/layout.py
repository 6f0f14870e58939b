"""How images lie in memory: channels last on a GPU, where convolutions are faster so."""

from __future__ import annotations

import torch

__all__ = ["image_layout"]


def image_layout(device: torch.device) -> torch.memory_format:
    """Return the memory format of images, maps and the weights of convolutions on a device.

    On CPU it stays the usual one: another would change the order of sums, and so the last digits.
    """
    return torch.channels_last if device.type == "cuda" else torch.contiguous_format
