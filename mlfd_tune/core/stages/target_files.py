"""Distillation targets on disk: written once by the stage `targets`, read by every student."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from mlfd_tune.core.held_rows import HeldRows, fits, mapped
from mlfd_tune.core.metrics import topk_accuracy
from mlfd_tune.core.stages.feature_formats import to_half
from mlfd_tune.core.stages.model_files import NPY_HEADER
from mlfd_tune.core.stages.target_sources import CleanTargets
from mlfd_tune.core.target_norm import TargetNorm

__all__ = ["TargetsView", "TargetsWriter", "stored_norms", "targets_bytes"]

_LOGITS = "logits.npy"
_BLOCK = 1024  # images normalised at a time


def targets_bytes(shapes: Mapping[str, tuple[int, ...]], classes: int, images: int) -> int:
    """Return the bytes of targets: for every image two a value at each level, four a logit."""
    per_image = 2 * sum(map(math.prod, shapes.values())) + 4 * classes
    return per_image * images + (len(shapes) + 1) * NPY_HEADER


class TargetsWriter:
    """Writes ``logits.npy`` (N, K) as float32 and ``<level>.npy`` (N, C[, H, W]) as float16.

    Args:
        out: The folder to write to.
        count: Images N.
        shapes: Shape of one image's target at every level.
        dtype: Of the levels' arrays.
    """

    def __init__(
        self, out: Path, count: int, shapes: Mapping[str, tuple[int, ...]], dtype: str
    ) -> None:
        self._out = out
        self._arrays = {
            level: np.lib.format.open_memmap(
                _file(out, level), mode="w+", dtype=dtype, shape=(count, *shape)
            )
            for level, shape in shapes.items()
        }
        self._logits: list[Tensor] = []
        self.written = 0

    def write(self, logits: Tensor, features: Mapping[str, Tensor]) -> None:
        """Write the next images' logits (N, K) and features (N, C[, H, W]) at every level."""
        end = self.written + len(logits)
        for level, array in self._arrays.items():
            array[self.written : end] = to_half(features[level])
        self._logits.append(logits.float().cpu())
        self.written = end

    def close(self, labels: Tensor) -> dict[str, float]:
        """Finish the files and return how well the logits tell the labels (N,)."""
        for array in self._arrays.values():
            array.flush()
        logits = torch.cat(self._logits)
        np.save(self._out / _LOGITS, logits.numpy())
        accuracy = topk_accuracy(logits, labels)
        return {f"train/{name}": value for name, value in accuracy.items()}


class TargetsView(CleanTargets):
    """A dataset's distillation targets, normalised.

    Args:
        path: Folder of a `targets` artifact.
        norm: How feature targets are normalised.
        levels: Which levels to read.
        device: Where batches go.
    """

    def __init__(
        self, path: Path, norm: str, levels: tuple[str, ...], device: torch.device
    ) -> None:
        self._logits = HeldRows(torch.from_numpy(np.load(path / _LOGITS)), device)
        self._levels = {
            level: _NormalisedRows(mapped(_file(path, level)), norm, device) for level in levels
        }

    def shapes(self) -> dict[str, tuple[int, ...]]:
        """Return the shape of one image's target at every level."""
        return {level: rows.shape[1:] for level, rows in self._levels.items()}

    def gather(self, indices: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        """Return logits (N, K) and the normalised targets by level of the samples `indices`."""
        features = {level: rows.take(indices) for level, rows in self._levels.items()}
        return self._logits.take(indices), features


def stored_norms(path: Path, norm: str, levels: tuple[str, ...]) -> dict[str, TargetNorm]:
    """Return the norm of each level, fitted to the `targets` artifact in the folder `path`."""
    return {level: TargetNorm.fit(norm, mapped(_file(path, level))) for level in levels}


class _NormalisedRows:
    """The targets of one level as float32: normalised once if they fit then, else by the batch."""

    def __init__(self, values: Tensor, norm: str, device: torch.device) -> None:
        self.shape = tuple(values.shape)
        self._norm: TargetNorm | None = TargetNorm.fit(norm, values).to(device)
        if self._norm.elementwise and fits(4 * values.numel(), device):
            values, self._norm = _all_normalised(values, self._norm, device), None
        self._rows = HeldRows(values, device)

    def take(self, indices: Tensor) -> Tensor:
        rows = self._rows.take(indices)
        return rows if self._norm is None else self._norm(rows)


def _all_normalised(values: Tensor, norm: TargetNorm, device: torch.device) -> Tensor:
    done = torch.empty(values.shape, dtype=torch.float32, device=device)
    for first in range(0, len(values), _BLOCK):
        done[first : first + _BLOCK] = norm(values[first : first + _BLOCK].to(device))
    return done


def _file(folder: Path, level: str) -> Path:
    return folder / f"{level}.npy"
