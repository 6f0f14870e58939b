"""Stage `pooled_features`: one vector per image and level, from one pass of a frozen teacher."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from functools import cached_property

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from mlfd_tune.core.data import PackedDataset, normalise, to_float
from mlfd_tune.core.layout import image_layout
from mlfd_tune.core.models import level_shapes
from mlfd_tune.core.numeric import fixed_threads
from mlfd_tune.core.spec import Spec
from mlfd_tune.core.stages.dataset import DatasetStage
from mlfd_tune.core.stages.features import FEATURE_SPLITS
from mlfd_tune.core.stages.images import EVALUATION_BATCH
from mlfd_tune.core.stages.model_files import NPY_HEADER, load_description
from mlfd_tune.core.stages.teacher import Teacher, load_backbone
from mlfd_tune.core.store import Stage, StageContext, StageResult

__all__ = ["MAX_TRAIN", "MAX_VAL", "PooledFeaturesSpec", "PooledFeaturesStage", "chosen_images"]

MAX_TRAIN = 5000
MAX_VAL = 2000


class PooledFeaturesSpec(Spec):
    """Identity of pooled features, beside the teacher and the dataset.

    Attributes:
        levels: The levels kept, coarse to fine.
        max_train: The most training images looked at.
        max_val: The most validation images looked at.
        dtype: Of the vectors; they are small enough for float32, which nothing overflows.
    """

    levels: tuple[str, ...]
    max_train: int
    max_val: int
    dtype: str = "float32"


class PooledFeaturesStage(Stage):
    """Runs one teacher once over some of a dataset's images and keeps every level's average.

    Writes ``{split}_{level}.npy`` (N, C) for each level, the embedding as it is and maps averaged
    over their positions, and ``{split}_indices.npy`` (N,) int64, the images' places in the packed
    split. Which images those are depends on the labels alone, so teachers whose images have
    another size see the same ones. The test split is never read here.

    Args:
        teacher: The frozen teacher. Images are normalised as it was trained.
        data: The dataset to look at, at the teacher's image size; not only the teacher's own.
        max_train: The most training images to look at.
        max_val: The most validation images to look at.
    """

    name = "pooled_features"
    spec: PooledFeaturesSpec

    def __init__(
        self,
        teacher: Teacher,
        data: DatasetStage,
        max_train: int = MAX_TRAIN,
        max_val: int = MAX_VAL,
    ) -> None:
        self.teacher = teacher
        self.data = data
        self.shapes = level_shapes(teacher.spec.arch, data.spec.image_size)
        self.spec = PooledFeaturesSpec(
            levels=tuple(self.shapes), max_train=max_train, max_val=max_val
        )

    @cached_property
    def inputs(self) -> dict[str, Stage]:  # noqa: D102
        return {"teacher": self.teacher, "dataset": self.data}

    @property
    def label(self) -> str:  # noqa: D102
        return f"pooled features {self.teacher.dataset} -> {self.data.dataset}"

    @property
    def dataset(self) -> str:  # noqa: D102
        return self.data.dataset

    def count(self, split: str) -> int:
        """Return how many images of ``train`` or ``val`` are looked at."""
        return min(self._most(split), self.data.counts[split])

    def estimate_bytes(self) -> int:
        """Four bytes a channel of every level and eight an index, for every image."""
        an_image = 8 + 4 * sum(shape[0] for shape in self.shapes.values())
        files = len(FEATURE_SPLITS) * (1 + len(self.shapes))
        return an_image * sum(map(self.count, FEATURE_SPLITS)) + files * NPY_HEADER

    def run(self, context: StageContext) -> StageResult:
        """Run the teacher over the chosen clean images in large batches."""
        device = torch.device(context.device)
        layout = image_layout(device)
        model = load_backbone(context.inputs["teacher"].path, device).to(memory_format=layout)
        about = load_description(context.inputs["teacher"].path)
        packed = PackedDataset(context.inputs["dataset"].path)
        chosen = {
            split: chosen_images(packed.labels(split), self._most(split), split)
            for split in FEATURE_SPLITS
        }
        total = sum(map(len, chosen.values()))
        done = 0
        for split, indices in chosen.items():
            np.save(context.out / f"{split}_indices.npy", indices)
            parts: dict[str, list[Tensor]] = {level: [] for level in self.spec.levels}
            with torch.inference_mode(), fixed_threads(self.teacher.threads):
                for raw in _batches(packed, split, indices):
                    images = normalise(to_float(raw.to(device)), about["mean"], about["std"])
                    _, features = model(images.to(memory_format=layout), levels=self.spec.levels)
                    for level, values in features.items():
                        parts[level].append(_pooled(values))
                    done += len(images)
                    context.progress(done / total, f"{done}/{total} images")
            for level, vectors in parts.items():
                values = torch.cat(vectors).cpu().numpy().astype(self.spec.dtype)
                np.save(context.out / f"{split}_{level}.npy", values)
        return StageResult({"images": float(total)})

    def _most(self, split: str) -> int:
        return self.spec.max_train if split == "train" else self.spec.max_val


def chosen_images(labels: NDArray[np.int64], limit: int, split: str) -> NDArray[np.int64]:
    """Return the places of at most `limit` images, the classes in proportion, in rising order.

    An image's place in its class is decided by a hash, as in `mlfd_tune.core.data.splits`, of the
    split and its place in it. Taken are first the first of every class, then whatever is least
    far in its class; so a class is missing only where there are more classes than places, and a
    smaller choice lies inside a larger one.

    Args:
        labels: (N,) class of every image of the split.
        limit: The most images to choose.
        split: The split's name.
    """
    if len(labels) <= limit:
        return np.arange(len(labels))
    by_hash = np.array(
        sorted(
            range(len(labels)),
            key=lambda index: hashlib.sha256(f"{split}/{index}".encode()).digest(),
        )
    )
    by_class = by_hash[np.argsort(labels[by_hash], kind="stable")]
    counts = np.bincount(labels)
    first_of_class = np.repeat(np.cumsum(counts) - counts, counts)
    share = np.empty(len(labels))
    share[by_class] = (np.arange(len(labels)) - first_of_class) / np.repeat(counts, counts)
    # A stable sort: of those equally far in their classes, the first by hash goes first.
    return np.sort(by_hash[np.argsort(share[by_hash], kind="stable")[:limit]])


def _batches(packed: PackedDataset, split: str, indices: NDArray[np.int64]) -> Iterator[Tensor]:
    """Yield uint8 images (N, 3, H, W) of the places `indices`."""
    images = packed.images(split)
    for first in range(0, len(indices), EVALUATION_BATCH):
        yield torch.from_numpy(
            np.ascontiguousarray(images[indices[first : first + EVALUATION_BATCH]])
        )


def _pooled(features: Tensor) -> Tensor:
    """Return (N, C) as float32 of (N, C) or (N, C, H, W)."""
    values = features.float()
    return values if values.ndim == 2 else values.mean(dim=(2, 3))
