"""Where the features of frozen teachers come from: artifacts, memory, or the teachers themselves.

All three give float32 values that went through the stored precision, so that what learns from them
learns the same:

* `CachedFeatures` reads artifacts of the stage `features`.
* `MemoryRows` are computed once, in the batches and the order of that stage: bit by bit what its
  artifact holds, on CPU. Of `int8` they hold the float16 values that the codes stand for, which are
  within half a step of what the artifact gives.
* `TeacherRows` runs the teacher for the very images that are asked for. What a network says of an
  image depends, in the last digits, on the batch the image is in: the values equal the stored ones
  within a step or two of the stored precision.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from mlfd_tune.core.data import PackedDataset, normalise, to_float
from mlfd_tune.core.held_rows import HeldRows, without_waiting
from mlfd_tune.core.layout import image_layout
from mlfd_tune.core.models import Backbone
from mlfd_tune.core.numeric import autocast, fixed_threads
from mlfd_tune.core.stages.feature_files import FEATURE_BATCH, CachedFeatures, features_name
from mlfd_tune.core.stages.feature_formats import HALF_MAX, FeatureArray
from mlfd_tune.core.stages.features import FeaturesStage
from mlfd_tune.core.stages.images import EVALUATION_BATCH, ImageBatches
from mlfd_tune.core.stages.model_files import load_description
from mlfd_tune.core.store import Artifact
from mlfd_tune.core.store.stage import read_below

__all__ = [
    "FeatureRows",
    "FeatureSource",
    "MemoryRows",
    "NetworkLoader",
    "Rows",
    "StoredRows",
    "TeacherRows",
    "as_stored",
    "clean_images",
    "open_features",
    "without_autocast",
]

NetworkLoader = Callable[[Path], Backbone]
"""Returns the network in an artifact's folder, on the device where it is to run."""


class FeatureSource(Protocol):
    """Features of every teacher for one dataset's split, sample by sample."""

    labels: Tensor

    def __len__(self) -> int: ...

    def gather(self, indices: NDArray[np.int64], device: torch.device) -> dict[str, Tensor]:
        """Return float32 features (N, C[, H, W]) of the samples `indices`, by teacher."""
        ...

    def batches(self, device: torch.device) -> Iterator[tuple[dict[str, Tensor], Tensor]]:
        """Yield (features by teacher, labels) in order."""
        ...


class Rows(Protocol):
    """One teacher's features of a split, at one level."""

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of one image's features: ``(C,)`` or ``(C, H, W)``."""
        ...

    def gather(self, indices: Tensor) -> Tensor:
        """Return float32 features (N, C[, H, W]) of the samples `indices` on the device."""
        ...

    def batches(self, size: int) -> Iterator[Tensor]:
        """Yield the features of all samples in order, `size` at a time."""
        ...


class StoredRows:
    """Rows of an artifact.

    Args:
        folder: Of a `features` artifact.
        split: ``train`` or ``val``.
        device: Where batches go.
    """

    def __init__(self, folder: Path, split: str, device: torch.device) -> None:
        self._array = FeatureArray(folder, split)
        self._device = device

    @property
    def shape(self) -> tuple[int, ...]:  # noqa: D102
        return self._array.shape

    def gather(self, indices: Tensor) -> Tensor:  # noqa: D102
        return self._array.gather(indices, self._device)

    def batches(self, size: int) -> Iterator[Tensor]:  # noqa: D102
        for first in range(0, len(self._array), size):
            yield self.gather(torch.arange(first, min(first + size, len(self._array))))


class MemoryRows:
    """Rows in memory, a GPU's where they fit, in the precision they are stored in.

    Args:
        values: (N, C) or (N, C, H, W) on the CPU, of any float type.
        device: Where batches go.
    """

    def __init__(self, values: Tensor, device: torch.device) -> None:
        self._values = HeldRows(values, device)

    @property
    def shape(self) -> tuple[int, ...]:  # noqa: D102
        return self._values.shape[1:]

    def gather(self, indices: Tensor) -> Tensor:  # noqa: D102
        return self._values.take(indices).float()

    def batches(self, size: int) -> Iterator[Tensor]:  # noqa: D102
        for first in range(0, len(self._values), size):
            yield self._values.between(first, first + size).float()


class TeacherRows:
    """What a teacher sees in clean images, computed whenever it is asked for.

    Args:
        stage: The features.
        inputs: The artifacts that `stage` reads.
        split: ``train`` or ``val``.
        device: Where the teacher runs.
        load: Loads the teacher.
    """

    def __init__(
        self,
        stage: FeaturesStage,
        inputs: Mapping[str, Artifact],
        split: str,
        device: torch.device,
        load: NetworkLoader,
    ) -> None:
        about = load_description(inputs["teacher"].path)
        self._mean, self._std = tuple(about["mean"]), tuple(about["std"])
        self._packed, self._split = PackedDataset(inputs["dataset"].path), split
        self._stage = stage
        self._device = device
        self._layout = image_layout(device)
        self._model = load(inputs["teacher"].path).to(memory_format=self._layout)

    @property
    def shape(self) -> tuple[int, ...]:  # noqa: D102
        return self._stage.shape

    def gather(self, indices: Tensor) -> Tensor:  # noqa: D102
        return self._features(
            clean_images(self._packed, self._split, indices, self._device, self._mean, self._std)
        )

    def batches(self, size: int) -> Iterator[Tensor]:
        """Yield the features in order, `size` at a time, computed as the stage computes them."""
        return _regrouped(self._computed(), size)

    def in_memory(self) -> MemoryRows:
        """Return all of them, computed once, as the stage stores them."""
        kept = _kept_in(self._stage.spec.dtype)
        return MemoryRows(
            torch.cat([batch.to(kept).cpu() for batch in self._computed()]), self._device
        )

    def _computed(self) -> Iterator[Tensor]:
        images = ImageBatches(self._packed, self._split, self._device, self._mean, self._std)
        for batch, _ in images.clean(EVALUATION_BATCH):
            yield self._features(batch)

    def _features(self, images: Tensor) -> Tensor:
        spec, threads = self._stage.spec, self._stage.teacher.threads
        # Whoever asks may be in the middle of a step of another precision.
        with torch.no_grad(), fixed_threads(threads), autocast(self._device, spec.precision):
            _, features = self._model(images.to(memory_format=self._layout), levels=(spec.level,))
        return as_stored(features[spec.level], spec.dtype)


class FeatureRows:
    """Rows of every teacher, as a `FeatureSource`.

    Args:
        rows: By teacher.
        labels: (N,).
    """

    def __init__(self, rows: Mapping[str, Rows], labels: Tensor) -> None:
        self.rows = rows
        self.labels = labels

    def __len__(self) -> int:
        return len(self.labels)

    def gather(self, indices: NDArray[np.int64], device: torch.device) -> dict[str, Tensor]:
        """Return float32 features (N, C[, H, W]) of the samples `indices`, by teacher."""
        chosen = torch.from_numpy(indices)
        return {teacher: rows.gather(chosen) for teacher, rows in self.rows.items()}

    def batches(self, device: torch.device) -> Iterator[tuple[dict[str, Tensor], Tensor]]:
        """Yield (features by teacher, labels) in order, in the batches of `CachedFeatures`."""
        each = [rows.batches(FEATURE_BATCH) for rows in self.rows.values()]
        for number, features in enumerate(zip(*each, strict=True)):
            first = number * FEATURE_BATCH
            labels = self.labels[first : first + FEATURE_BATCH]
            yield dict(zip(self.rows, features, strict=True)), labels


def open_features(
    inputs: Mapping[str, Artifact],
    stages: Mapping[str, FeaturesStage],
    split: str,
    device: torch.device,
    load: NetworkLoader,
    *,
    in_memory: bool,
) -> FeatureSource:
    """Return the features of one dataset's split.

    Args:
        inputs: What the reader was given: artifacts of features, or those they are made from, and
            of the dataset.
        stages: The features by teacher, all of one dataset.
        split: ``train`` or ``val``.
        device: Where batches go, and teachers run.
        load: Loads a teacher.
        in_memory: Whether features that are not stored are computed now and held, or else for
            every batch that is asked for.
    """
    dataset = next(iter(stages.values())).dataset
    if all(stage.stored for stage in stages.values()):
        return CachedFeatures(inputs, tuple(stages), dataset, split)
    running = {
        teacher: TeacherRows(
            stage, read_below(inputs, features_name(teacher, dataset)), split, device, load
        )
        for teacher, stage in stages.items()
    }
    rows: Mapping[str, Rows] = running
    if in_memory:
        rows = {teacher: each.in_memory() for teacher, each in running.items()}
    packed = PackedDataset(inputs[f"dataset/{dataset}"].path)
    return FeatureRows(rows, torch.from_numpy(np.asarray(packed.labels(split))).long())


def as_stored(values: Tensor, dtype: str = "float16") -> Tensor:
    """Return values as float32, rounded as the store rounds them; `int8` to float16 alone."""
    if _kept_in(dtype) == torch.bfloat16:
        return values.to(torch.bfloat16).float()
    return values.float().clamp(-HALF_MAX, HALF_MAX).half().float()


def clean_images(
    packed: PackedDataset,
    split: str,
    indices: Tensor,
    device: torch.device,
    mean: tuple[float, ...],
    std: tuple[float, ...],
) -> Tensor:
    """Return the samples `indices` of a split, not augmented: normalised images (N, 3, H, W)."""
    raw = np.ascontiguousarray(packed.images(split)[indices.numpy()])
    return normalise(to_float(without_waiting(torch.from_numpy(raw), device)), mean, std)


def without_autocast(device: torch.device) -> torch.autocast:
    """Compute in full precision inside the block, as the stages do that write artifacts.

    Lessons are made inside a student's step, which may be one of mixed precision.
    """
    return torch.autocast(device.type, enabled=False)


def _kept_in(dtype: str) -> torch.dtype:
    return torch.bfloat16 if dtype == "bfloat16" else torch.float16


def _regrouped(batches: Iterator[Tensor], size: int) -> Iterator[Tensor]:
    """Yield the same rows, `size` at a time."""
    waiting: list[Tensor] = []
    count = 0
    for batch in batches:
        waiting.append(batch)
        count += len(batch)
        while count >= size:
            rows = torch.cat(waiting)
            yield rows[:size]
            waiting, count = [rows[size:]], count - size
    if count:
        yield torch.cat(waiting)
