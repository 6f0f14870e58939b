"""Where a student's targets come from: an artifact, memory, or the networks that make them.

The three of clean images give the same within the stored precision (float16 features, float32
logits):

* `TargetsView` reads an artifact of the stage `targets`.
* `TargetsInMemory` computes them once when a student's training starts, in the batches and the
  order of that stage: bit by bit what its artifact holds, on CPU.
* `TargetsOnTheFly` computes them for the images of every batch of the training, where they fit
  neither on disk nor into memory. What a network says of an image depends, in the last digits, on
  the batch the image is in: features equal the stored ones within a step or two of half precision,
  logits to about 1e-5 of their size.

`view_targets` has the source of those who look at what the student sees.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from mlfd_tune.core.channel_moments import ChannelMoments
from mlfd_tune.core.held_rows import HeldRows
from mlfd_tune.core.stages.feature_formats import to_half
from mlfd_tune.core.stages.feature_sources import as_stored
from mlfd_tune.core.target_norm import TargetNorm

__all__ = [
    "CleanTargets",
    "TargetMaker",
    "TargetSource",
    "TargetsInMemory",
    "TargetsOnTheFly",
    "fit_norms",
]

_TINY = 1e-6  # a channel with less spread counts as constant, as in `TargetNorm.fit`


class TargetSource(ABC):
    """A dataset's distillation targets, normalised, batch by batch."""

    @abstractmethod
    def shapes(self) -> dict[str, tuple[int, ...]]:
        """Return the shape of one image's target at every level."""

    @abstractmethod
    def taught(self, indices: Tensor, images: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        """Return what a student learns from a batch: logits (N, K) and normalised targets by level.

        Args:
            indices: Which samples, of shape (N,).
            images: These samples as the student sees them: augmented (N, 3, H, W) in 0-1.
        """


class CleanTargets(TargetSource):
    """Targets of the images as they are, whatever a student sees of them."""

    @abstractmethod
    def gather(self, indices: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        """Return logits (N, K) and the normalised targets by level of the samples `indices`."""

    def taught(self, indices: Tensor, images: Tensor) -> tuple[Tensor, dict[str, Tensor]]:  # noqa: D102
        return self.gather(indices)


class TargetMaker(Protocol):
    """What makes the targets of a dataset's clean training images.

    Values are as the networks give them: not yet rounded, not normalised.
    """

    @property
    def out_shapes(self) -> Mapping[str, tuple[int, ...]]:
        """Shape of one image's target at every level."""
        ...

    def __len__(self) -> int: ...

    def batches(self) -> Iterator[tuple[Tensor, dict[str, Tensor]]]:
        """Yield logits (N, K) and features by level, in the stage's batches and order."""
        ...

    def gather(self, indices: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        """Return logits (N, K) and features by level of the samples `indices`."""
        ...


class TargetsInMemory(CleanTargets):
    """Targets computed now, all of them, and held as the stage `targets` stores them.

    Args:
        maker: Makes them; not held.
        norm: How feature targets are normalised.
        levels: Which levels to hold.
        device: Where batches go.
    """

    def __init__(
        self, maker: TargetMaker, norm: str, levels: tuple[str, ...], device: torch.device
    ) -> None:
        shapes = {level: (len(maker), *maker.out_shapes[level]) for level in levels}
        arrays = {level: np.empty(shape, np.float16) for level, shape in shapes.items()}
        logits, first = [], 0
        for of_batch, features in maker.batches():
            end = first + len(of_batch)
            for level, array in arrays.items():
                array[first:end] = to_half(features[level])
            logits.append(of_batch.float().cpu())
            first = end
        self.logits = HeldRows(torch.cat(logits), device)
        self.rows = {
            level: HeldRows(torch.from_numpy(array), device) for level, array in arrays.items()
        }
        self.norms = {
            level: TargetNorm.fit(norm, array).to(device) for level, array in arrays.items()
        }

    def shapes(self) -> dict[str, tuple[int, ...]]:
        """Return the shape of one image's target at every level."""
        return {level: rows.shape[1:] for level, rows in self.rows.items()}

    def gather(self, indices: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        """Return logits (N, K) and the normalised targets by level of the samples `indices`."""
        features = {
            level: self.norms[level](rows.take(indices).float())
            for level, rows in self.rows.items()
        }
        return self.logits.take(indices), features


class TargetsOnTheFly(CleanTargets):
    """Targets computed for the images of every batch.

    The norm ``standardise`` needs the statistics of all training targets: one pass over the
    training images takes them when the training starts.

    Args:
        maker: Makes them.
        norm: How feature targets are normalised.
        levels: Which levels to give.
        device: Where the maker runs.
    """

    def __init__(
        self, maker: TargetMaker, norm: str, levels: tuple[str, ...], device: torch.device
    ) -> None:
        self.maker = maker
        self.levels = levels
        norms = fit_norms(maker, norm, levels)
        self.norms = {level: each.to(device) for level, each in norms.items()}

    def shapes(self) -> dict[str, tuple[int, ...]]:
        """Return the shape of one image's target at every level."""
        return {level: tuple(self.maker.out_shapes[level]) for level in self.levels}

    def gather(self, indices: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        """Return logits (N, K) and the normalised targets by level of the samples `indices`."""
        logits, features = self.maker.gather(indices)
        with torch.no_grad():
            return logits.float(), {
                level: self.norms[level](as_stored(features[level])) for level in self.levels
            }


def fit_norms(maker: TargetMaker, norm: str, levels: tuple[str, ...]) -> dict[str, TargetNorm]:
    """Return the norm of each level: of ``standardise``, after one pass over the clean images."""
    if norm == "standardise":
        return _standardising(maker, levels)
    return {level: TargetNorm(norm) for level in levels}


def _standardising(maker: TargetMaker, levels: tuple[str, ...]) -> dict[str, TargetNorm]:
    moments = {level: ChannelMoments() for level in levels}
    if levels:
        for _, features in maker.batches():
            for level, each in moments.items():
                each.update(as_stored(features[level]))
    norms = {}
    for level, each in moments.items():
        std = each.variance.sqrt()
        std = torch.where(std > _TINY, std, torch.ones_like(std))
        norms[level] = TargetNorm("standardise", each.mean.float(), std.float())
    return norms
