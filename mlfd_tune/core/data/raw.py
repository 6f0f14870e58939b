"""A dataset before packing: labels known, images opened one by one on demand."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image

__all__ = ["RawDataset", "RawSplit"]


@dataclass(frozen=True, eq=False)
class RawSplit:
    """The images of one split, in a fixed order.

    Attributes:
        labels: (N,) int64 class indices.
        names: N names, each unique in the whole dataset and independent of where it lies.
        open_image: Returns image `i` at its own size. Safe to call from several threads.
    """

    labels: NDArray[np.int64]
    names: tuple[str, ...]
    open_image: Callable[[int], Image.Image]

    def __post_init__(self) -> None:
        if len(self.labels) != len(self.names):
            raise ValueError(f"{len(self.labels)} labels for {len(self.names)} names")

    def __len__(self) -> int:
        return len(self.names)

    def image(self, index: int) -> Image.Image:
        """Return image `index`, decoded, at its own size.

        Raises:
            UserError: When the file cannot be read as an image.
        """
        return self.open_image(index)

    def name(self, index: int) -> str:
        """Return the name of image `index`."""
        return self.names[index]

    def subset(self, indices: NDArray[np.int64]) -> RawSplit:
        """Return the images at `indices`, in that order."""
        return RawSplit(
            labels=self.labels[indices],
            names=tuple(self.names[index] for index in indices),
            open_image=lambda index: self.open_image(int(indices[index])),
        )


@dataclass(frozen=True, eq=False)
class RawDataset:
    """Classes and splits of one dataset.

    Attributes:
        classes: Class names; a label is an index into them.
        splits: ``train`` and, where shipped or carved, ``val`` and ``test``.
    """

    classes: tuple[str, ...]
    splits: dict[str, RawSplit]
