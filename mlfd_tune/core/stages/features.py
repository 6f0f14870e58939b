"""Stage `features`: what one frozen teacher sees in one dataset's clean images, at one level.

Extracted once because the teachers are frozen (paper, section 3 after Algorithm 1).
"""

from __future__ import annotations

import math
from functools import cached_property
from pathlib import Path

import numpy as np
import torch

from mlfd_tune.core.data import PackedDataset
from mlfd_tune.core.models import level_shapes
from mlfd_tune.core.numeric import fixed_threads
from mlfd_tune.core.spec import Spec
from mlfd_tune.core.stages.dataset import DatasetStage
from mlfd_tune.core.stages.images import EVALUATION_BATCH, ImageBatches
from mlfd_tune.core.stages.model_files import NPY_HEADER, load_description
from mlfd_tune.core.stages.teacher import Teacher, load_backbone
from mlfd_tune.core.store import Stage, StageContext, StageResult

__all__ = ["FEATURE_SPLITS", "FeaturesSpec", "FeaturesStage", "to_half"]

FEATURE_SPLITS = ("train", "val")
HALF_MAX = 65504.0


class FeaturesSpec(Spec):
    """Identity of extracted features, beside the teacher and the dataset."""

    level: str
    dtype: str = "float16"


class FeaturesStage(Stage):
    """Runs one teacher over one dataset and keeps its features at one level.

    Writes ``train.npy`` and ``val.npy``, float16 of shape (N, C) or (N, C, H, W). The test split
    is never read here.

    Args:
        teacher: The frozen teacher. Images are normalised as it was trained.
        data: The dataset to look at; not only the teacher's own.
        level: Such as ``embedding`` or ``stride32``.
    """

    name = "features"
    version = 2  # of plain transformers, levels by depth
    spec: FeaturesSpec

    def __init__(self, teacher: Teacher, data: DatasetStage, level: str) -> None:
        self.teacher = teacher
        self.data = data
        self.spec = FeaturesSpec(level=level)

    @cached_property
    def inputs(self) -> dict[str, Stage]:  # noqa: D102
        return {"teacher": self.teacher, "dataset": self.data}

    @property
    def label(self) -> str:  # noqa: D102
        return f"features {self.teacher.dataset} -> {self.data.dataset} ({self.spec.level})"

    @property
    def dataset(self) -> str:  # noqa: D102
        return self.data.dataset

    @cached_property
    def shape(self) -> tuple[int, ...]:
        """Shape of one image's features: (C,) or (C, H, W)."""
        teacher = self.teacher.spec
        return level_shapes(teacher.arch, self.data.spec.image_size)[self.spec.level]

    def estimate_bytes(self) -> int:
        """Two bytes a value for every training and validation image."""
        images = sum(self.data.counts[split] for split in FEATURE_SPLITS)
        return 2 * math.prod(self.shape) * images + len(FEATURE_SPLITS) * NPY_HEADER

    def run(self, context: StageContext) -> StageResult:
        """Run the teacher over clean images in large batches."""
        device = torch.device(context.device)
        model = load_backbone(context.inputs["teacher"].path, device)
        about = load_description(context.inputs["teacher"].path)
        packed = PackedDataset(context.inputs["dataset"].path)
        total = sum(packed.size(split) for split in FEATURE_SPLITS)
        done = 0
        for split in FEATURE_SPLITS:
            batches = ImageBatches(
                packed, split, device, mean=tuple(about["mean"]), std=tuple(about["std"])
            )
            array = self._new_array(context.out / f"{split}.npy", len(batches))
            first = 0
            with torch.inference_mode(), fixed_threads(self.teacher.threads):
                for images, _ in batches.clean(EVALUATION_BATCH):
                    _, features = model(images, levels=(self.spec.level,))
                    values = to_half(features[self.spec.level])
                    array[first : first + len(values)] = values
                    first += len(values)
                    context.progress((done + first) / total, f"{done + first}/{total} images")
            array.flush()
            done += first
        return StageResult({"images": float(total)})

    def _new_array(self, path: Path, count: int) -> np.memmap:
        shape = (count, *self.shape)
        return np.lib.format.open_memmap(path, mode="w+", dtype=self.spec.dtype, shape=shape)


def to_half(values: torch.Tensor) -> np.ndarray:
    """Return values as float16 on the CPU; what is too large for it is held at its maximum."""
    return values.float().clamp(-HALF_MAX, HALF_MAX).half().cpu().numpy()
