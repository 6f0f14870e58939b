"""Rows of an array on disk, taken by the batch: from a GPU's memory where they fit, else mapped.

On CPU nothing is copied into the process: the pages of a mapped file stay in the system's file
cache, where all processes share them, and a batch is one selection from them.
"""

from __future__ import annotations

import warnings
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from mlfd_tune.core.memory import free_memory_bytes

__all__ = ["DEVICE_SHARE", "MEMORY_SHARE", "HeldRows", "fits", "mapped", "without_waiting"]

DEVICE_SHARE = 1 / 4
"""Of a GPU's free memory: an array that takes less is held there."""
MEMORY_SHARE = 1 / 32
"""Of this machine's free memory, in which other trials hold theirs too."""


class HeldRows:
    """Rows of an array, to be taken by their indices.

    Args:
        values: (N, ...), on the CPU or on the device already. On a GPU it is held where it `fits`.
        device: Where batches go.
    """

    def __init__(self, values: Tensor, device: torch.device) -> None:
        held = device.type == "cuda" and values.device != device and fits(values.nbytes, device)
        self._values = values.to(device) if held else values
        self._device = device

    def __len__(self) -> int:
        return len(self._values)

    @property
    def shape(self) -> tuple[int, ...]:
        """The array's shape."""
        return tuple(self._values.shape)

    def take(self, indices: Tensor) -> Tensor:
        """Return copies of the rows `indices` (n,), int64 on the CPU, as (n, ...) on the device."""
        there = without_waiting(indices, self._values.device)
        return without_waiting(self._values.index_select(0, there), self._device)

    def between(self, first: int, end: int) -> Tensor:
        """Return the rows from `first` to before `end` on the device, to be read only."""
        return without_waiting(self._values[first:end], self._device)


def mapped(path: Path) -> Tensor:
    """Return the array in a ``.npy`` file as a tensor on the file's own pages, to be read only."""
    # Not as copy on write, which torch would not warn of: the system may refuse to map a file
    # larger than its memory so, as all its pages might be written.
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="The given NumPy array is not writable")
        return torch.from_numpy(np.load(path, mmap_mode="r"))


def fits(nbytes: int, device: torch.device) -> bool:
    """Tell whether so many bytes are within the share of the device's free memory for an array."""
    if device.type == "cuda":
        free, _ = torch.cuda.mem_get_info(device)
        return nbytes <= DEVICE_SHARE * free
    return nbytes <= MEMORY_SHARE * free_memory_bytes()


def without_waiting(values: Tensor, device: torch.device) -> Tensor:
    """Return the values on a device; the host goes on while they are copied."""
    if values.device == device or values.device.type != "cpu":
        return values.to(device)
    return values.pin_memory().to(device, non_blocking=True)
