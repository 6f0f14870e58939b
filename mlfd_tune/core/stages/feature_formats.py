"""How features are kept on disk, and read back as float32.

========== ==================================== =============================================
dtype      files                                a value read back is
========== ==================================== =============================================
float16    ``{split}.npy``                      the nearest float16; beyond 65504, 65504
bfloat16   ``{split}.bfloat16.npy``             the nearest bfloat16, within 2^-8 of it
int8       ``{split}.int8.npy`` and             within half a step of the float16; a step is
           ``{split}.scales.npy``               1/255 of the channel's range in the split
========== ==================================== =============================================

NumPy has no bfloat16: its bits are kept as uint16. `int8` is a code 0 to 255 for a value between a
channel's lowest (0) and highest (255) over all images and positions. With a lowest value of their
own and not a range around 0, channels after a ReLU lose no bit, and their zeros stay zeros.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from mlfd_tune.core.held_rows import HeldRows, mapped
from mlfd_tune.core.stages.model_files import NPY_HEADER

__all__ = [
    "HALF_MAX",
    "FeatureArray",
    "FeaturesDtype",
    "encode",
    "features_bytes",
    "features_file",
    "quantise",
    "to_half",
]

FeaturesDtype = Literal["float16", "bfloat16", "int8"]

HALF_MAX = 65504.0
_FILES: dict[FeaturesDtype, str] = {
    "float16": "{}.npy",
    "bfloat16": "{}.bfloat16.npy",
    "int8": "{}.int8.npy",
}
_SCALES = "{}.scales.npy"
_TOP_CODE = 255
_BLOCK_BYTES = 64 << 20


class FeatureArray:
    """One split's features on disk, read as float32.

    A GPU that batches go to holds the values as they are kept, where they fit (`HeldRows`).

    Args:
        folder: Of a `features` artifact.
        split: ``train`` or ``val``.

    Raises:
        FileNotFoundError: There are none in any format.
    """

    def __init__(self, folder: Path, split: str) -> None:
        found = [dtype for dtype in _FILES if features_file(folder, split, dtype).exists()]
        dtype = found[0] if found else "float16"
        values = mapped(features_file(folder, split, dtype))
        self._values = values.view(torch.bfloat16) if dtype == "bfloat16" else values
        self._scales: Tensor | None = None  # (2, C[, 1, 1])
        if dtype == "int8":
            scales = torch.from_numpy(np.load(folder / _SCALES.format(split)))
            self._scales = scales.view(2, -1, *[1] * (values.ndim - 2))
        self._held: dict[torch.device, tuple[HeldRows, Tensor | None]] = {}

    def __len__(self) -> int:
        return len(self._values)

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of one image's features: (C,) or (C, H, W)."""
        return tuple(self._values.shape[1:])

    def gather(self, indices: Tensor, device: torch.device) -> Tensor:
        """Return features (n, C[, H, W]) of the images `indices` (n,), int64 on the CPU."""
        rows, scales = self._on(device)
        return _decoded(rows.take(indices), scales)

    def between(self, first: int, end: int, device: torch.device) -> Tensor:
        """Return features (n, C[, H, W]) of the images from `first` to before `end`."""
        rows, scales = self._on(device)
        return _decoded(rows.between(first, end), scales)

    def _on(self, device: torch.device) -> tuple[HeldRows, Tensor | None]:
        if device not in self._held:
            scales = None if self._scales is None else self._scales.to(device)
            self._held[device] = HeldRows(self._values, device), scales
        return self._held[device]


def features_file(folder: Path, split: str, dtype: FeaturesDtype) -> Path:
    """Return the file that holds a split's values."""
    return folder / _FILES[dtype].format(split)


def features_bytes(dtype: FeaturesDtype, shape: tuple[int, ...], images: int) -> int:
    """Return the bytes of a split's files.

    Args:
        dtype: How they are kept.
        shape: Of one image's features.
        images: How many.
    """
    size = math.prod(shape) * images
    if dtype == "int8":
        return size + NPY_HEADER + 2 * 4 * shape[0] + NPY_HEADER
    return 2 * size + NPY_HEADER


def to_half(values: Tensor) -> NDArray[np.float16]:
    """Return values as float16 on the CPU; what is too large for it is held at its maximum."""
    half: NDArray[np.float16] = _half(values).cpu().numpy()
    return half


def encode(values: Tensor, dtype: FeaturesDtype) -> Tensor:
    """Return values in two bytes each, on their device: float16, or bfloat16's bits as int16."""
    if dtype == "bfloat16":
        return values.to(torch.bfloat16).contiguous().view(torch.int16)
    return _half(values).contiguous()


def quantise(values: NDArray[np.float16], folder: Path, split: str) -> None:
    """Write a split's values (N, C[, H, W]) as 8-bit codes, and each channel's scale.

    The scales are (2, C) float32: a channel's lowest value and its step.
    """
    over = (0, *range(2, values.ndim))
    lowest = np.full(values.shape[1], np.inf, dtype=np.float32)
    highest = -lowest
    for rows in _blocks(values):
        block = values[rows].astype(np.float32)
        lowest = np.minimum(lowest, block.min(axis=over))
        highest = np.maximum(highest, block.max(axis=over))
    step = (highest - lowest) / np.float32(_TOP_CODE)
    step[step == 0] = 1  # a constant channel: all codes are 0
    np.save(folder / _SCALES.format(split), np.stack([lowest, step]))
    codes = np.lib.format.open_memmap(
        features_file(folder, split, "int8"), mode="w+", dtype=np.uint8, shape=values.shape
    )
    by_channel = (-1, *[1] * (values.ndim - 2))
    for rows in _blocks(values):
        scaled = (values[rows] - lowest.reshape(by_channel)) / step.reshape(by_channel)
        # What is not a number has no code; its channel's scale says so when it is read.
        codes[rows] = np.nan_to_num(np.rint(scaled)).clip(0, _TOP_CODE)
    codes.flush()


def _decoded(kept: Tensor, scales: Tensor | None) -> Tensor:
    values = kept.float()
    if scales is not None:
        lowest, step = scales
        values.mul_(step).add_(lowest)
    return values


def _half(values: Tensor) -> Tensor:
    return values.float().clamp(-HALF_MAX, HALF_MAX).half()


def _blocks(values: NDArray[np.float16]) -> Iterator[slice]:
    size = max(1, _BLOCK_BYTES // max(1, 4 * math.prod(values.shape[1:])))
    return (slice(first, first + size) for first in range(0, len(values), size))
