"""A dataset decoded and resized once, into arrays that every process maps from disk.

Decoding is paid for here, once, and not again in every epoch of every trial.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, cast

import numpy as np
from numpy.lib.format import open_memmap
from numpy.typing import NDArray
from torch import Tensor

from mlfd_tune.core.data.decode import to_square
from mlfd_tune.core.data.raw import RawDataset, RawSplit
from mlfd_tune.core.data.splits import prepare_splits
from mlfd_tune.core.errors import UserError
from mlfd_tune.core.held_rows import mapped

if TYPE_CHECKING:
    from mlfd_tune.core.data.spec import DatasetSpec

__all__ = ["PackedDataset", "pack", "packed_bytes"]

Progress = Callable[[int, int], None]

_BLOCK = 64  # images a decoding thread takes at a time
_MIN_STD = 1 / 255  # a constant channel must not make normalisation divide by zero


def pack(
    raw: RawDataset,
    spec: DatasetSpec,
    image_size: int,
    out: Path,
    progress: Progress | None = None,
) -> dict[str, float]:
    """Write the splits of a dataset as arrays, in their fixed order.

    Writes ``{train,val,test}_images.npy`` ((N, 3, S, S) uint8), ``{split}_labels.npy`` ((N,) int64)
    and ``dataset.json`` (classes, image size, counts, and the mean and standard deviation of each
    channel over the training pixels, in 0-1 units).

    Args:
        raw: The dataset as its source loads it; missing splits are carved as `spec` says.
        spec: The dataset's settings.
        image_size: Side S of the square images, pixels.
        out: The directory to write into; made if missing.
        progress: Called with (images done, images in all) after every block of images.

    Returns:
        Counts for the log: ``classes``, ``train_images``, ``val_images``, ``test_images``.

    Raises:
        UserError: When an image cannot be decoded (the file is named), or the splits do not fit.
    """
    raw = prepare_splits(raw, spec)
    out.mkdir(parents=True, exist_ok=True)
    total = sum(len(split) for split in raw.splits.values())
    done = 0
    for name, split in raw.splits.items():
        np.save(out / f"{name}_labels.npy", split.labels)
        for count in _write_images(split, image_size, out / f"{name}_images.npy"):
            done += count
            if progress:
                progress(done, total)
    counts = {name: len(split) for name, split in raw.splits.items()}
    mean, std = _channel_statistics(np.load(out / "train_images.npy", mmap_mode="r"))
    description = {
        "classes": list(raw.classes),
        "image_size": image_size,
        "counts": counts,
        "mean": mean,
        "std": std,
    }
    text = json.dumps(description, indent=1, ensure_ascii=False)
    (out / "dataset.json").write_text(text + "\n", encoding="utf-8")
    images = {f"{name}_images": float(count) for name, count in counts.items()}
    return {"classes": float(len(raw.classes)), **images}


def packed_bytes(raw: RawDataset, image_size: int) -> int:
    """Return the bytes that `pack` will need for images and labels."""
    images = sum(len(split) for split in raw.splits.values())
    return images * (3 * image_size * image_size + 8)


class PackedDataset:
    """A packed dataset, read from the directory `pack` wrote.

    Args:
        path: The directory.

    Attributes:
        path: The directory.
        classes: Class names; a label is an index into them.
        image_size: Side of the square images, pixels.
        mean: Mean of each channel over the training pixels, in 0-1 units.
        std: Their standard deviation, in 0-1 units, at least one grey level.
    """

    def __init__(self, path: Path) -> None:
        self.path = Path(path)
        try:
            description = json.loads((self.path / "dataset.json").read_text(encoding="utf-8"))
        except FileNotFoundError as error:
            raise UserError(f"{self.path} holds no packed dataset: no dataset.json") from error
        self.classes: tuple[str, ...] = tuple(description["classes"])
        self.image_size: int = description["image_size"]
        self.mean: tuple[float, ...] = tuple(description["mean"])
        self.std: tuple[float, ...] = tuple(description["std"])
        self._counts: dict[str, int] = description["counts"]

    @property
    def num_classes(self) -> int:
        """How many classes there are."""
        return len(self.classes)

    def size(self, split: str) -> int:
        """Return how many images `split` (train, val or test) has."""
        return self._counts[split]

    def images(self, split: str) -> np.memmap[tuple[int, ...], np.dtype[np.uint8]]:
        """Return the (N, 3, S, S) uint8 images, mapped from disk, read-only."""
        return cast(
            "np.memmap[tuple[int, ...], np.dtype[np.uint8]]",
            np.load(self._images_file(split), mmap_mode="r"),
        )

    def image_tensor(self, split: str) -> Tensor:
        """Return the (N, 3, S, S) uint8 images as a tensor on the same pages, to be read only."""
        return mapped(self._images_file(split))

    def labels(self, split: str) -> NDArray[np.int64]:
        """Return the (N,) int64 labels."""
        return cast("NDArray[np.int64]", np.load(self.path / f"{split}_labels.npy"))

    def _images_file(self, split: str) -> Path:
        return self.path / f"{split}_images.npy"


def _write_images(split: RawSplit, image_size: int, path: Path) -> Iterator[int]:
    """Write the images of one split, yielding the size of every block as it is done."""
    shape = (len(split), 3, image_size, image_size)
    images = open_memmap(path, mode="w+", dtype=np.uint8, shape=shape)

    def write_block(start: int) -> int:
        block = range(start, min(start + _BLOCK, len(split)))
        for index in block:
            images[index] = to_square(split.image(index), image_size)
        return len(block)

    # Pillow decodes and resizes outside the interpreter's lock; every block has its own place, so
    # the result does not depend on the threads.
    executor = ThreadPoolExecutor(max_workers=min(8, os.cpu_count() or 1))
    try:
        yield from executor.map(write_block, range(0, len(split), _BLOCK))
    finally:
        executor.shutdown(cancel_futures=True)
    images.flush()


def _channel_statistics(images: NDArray[np.uint8]) -> tuple[list[float], list[float]]:
    """Return mean and standard deviation of each channel in 0-1 units, from exact counts."""
    histogram = np.zeros((3, 256), dtype=np.int64)
    for start in range(0, len(images), 1024):
        for channel in range(3):
            block = images[start : start + 1024, channel]
            histogram[channel] += np.bincount(block.ravel(), minlength=256)
    levels = np.arange(256) / 255
    weights = histogram / histogram.sum(axis=1, keepdims=True)
    mean = weights @ levels
    variance = (weights * (levels - mean[:, None]) ** 2).sum(axis=1)
    return mean.tolist(), np.maximum(np.sqrt(variance), _MIN_STD).tolist()
