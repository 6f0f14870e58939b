"""Stage `features`: what one frozen teacher sees in one dataset's clean images, at one level.

Extracted once because the teachers are frozen (paper, section 3 after Algorithm 1).
"""

from __future__ import annotations

from functools import cached_property
from typing import ClassVar

import torch

from mlfd_tune.core.data import PackedDataset
from mlfd_tune.core.layout import image_layout
from mlfd_tune.core.models import level_shapes
from mlfd_tune.core.numeric import Precision, autocast, fixed_threads
from mlfd_tune.core.spec import Spec
from mlfd_tune.core.stages.dataset import DatasetStage
from mlfd_tune.core.stages.feature_formats import (
    HALF_MAX,
    FeaturesDtype,
    features_bytes,
    to_half,
)
from mlfd_tune.core.stages.feature_writer import FeatureWriter
from mlfd_tune.core.stages.images import EVALUATION_BATCH, ImageBatches
from mlfd_tune.core.stages.model_files import load_description
from mlfd_tune.core.stages.teacher import Teacher, load_backbone
from mlfd_tune.core.store import Stage, StageContext, StageResult

__all__ = ["FEATURE_SPLITS", "HALF_MAX", "FeaturesSpec", "FeaturesStage", "to_half"]

FEATURE_SPLITS = ("train", "val")


class FeaturesSpec(Spec):
    """Identity of extracted features, beside the teacher and the dataset.

    Attributes:
        level: The teacher's level.
        dtype: How they are kept (`feature_formats`).
        precision: What the teacher computes in.
    """

    added_later: ClassVar[frozenset[str]] = frozenset({"precision"})

    level: str
    dtype: FeaturesDtype = "float16"
    precision: Precision = "fp32"


class FeaturesStage(Stage):
    """Runs one teacher over one dataset and keeps its features at one level.

    Writes the training and the validation split, shape (N, C) or (N, C, H, W), in the format of
    `feature_formats`; ``train.npy`` and ``val.npy`` as float16. The test split is never read here.

    Args:
        teacher: The frozen teacher. Images are normalised as it was trained.
        data: The dataset to look at; not only the teacher's own.
        level: Such as ``embedding`` or ``stride32``.
        dtype: How the features are kept.
        precision: What the teacher computes in.
    """

    name = "features"
    version = 2  # of plain transformers, levels by depth
    spec: FeaturesSpec

    def __init__(
        self,
        teacher: Teacher,
        data: DatasetStage,
        level: str,
        dtype: FeaturesDtype = "float16",
        precision: Precision = "fp32",
    ) -> None:
        self.teacher = teacher
        self.data = data
        self.spec = FeaturesSpec(level=level, dtype=dtype, precision=precision)

    @cached_property
    def inputs(self) -> dict[str, Stage]:  # noqa: D102
        return {"teacher": self.teacher, "dataset": self.data}

    @property
    def label(self) -> str:  # noqa: D102
        kept = "" if self.spec.dtype == "float16" else f", {self.spec.dtype}"
        return f"features {self.teacher.dataset} -> {self.data.dataset} ({self.spec.level}{kept})"

    @property
    def dataset(self) -> str:  # noqa: D102
        return self.data.dataset

    @cached_property
    def shape(self) -> tuple[int, ...]:
        """Shape of one image's features: (C,) or (C, H, W)."""
        teacher = self.teacher.spec
        return level_shapes(teacher.arch, self.data.spec.image_size)[self.spec.level]

    def estimate_bytes(self) -> int:
        """The values of every training and validation image, and the scales of 8-bit ones."""
        counts = (self.data.counts[split] for split in FEATURE_SPLITS)
        return sum(features_bytes(self.spec.dtype, self.shape, count) for count in counts)

    def run(self, context: StageContext) -> StageResult:
        """Run the teacher over clean images in large batches."""
        device, spec = torch.device(context.device), self.spec
        model = load_backbone(context.inputs["teacher"].path, device)
        model = model.to(memory_format=image_layout(device))
        about = load_description(context.inputs["teacher"].path)
        packed = PackedDataset(context.inputs["dataset"].path)
        total = sum(packed.size(split) for split in FEATURE_SPLITS)
        done = 0
        for split in FEATURE_SPLITS:
            batches = ImageBatches(
                packed, split, device, mean=tuple(about["mean"]), std=tuple(about["std"])
            )
            shape = (len(batches), *self.shape)
            with (
                FeatureWriter(context.out, context.work, split, spec.dtype, shape) as writer,
                torch.inference_mode(),
                fixed_threads(self.teacher.threads),
                autocast(device, spec.precision),
            ):
                for images, _ in batches.clean(EVALUATION_BATCH):
                    _, features = model(images, levels=(spec.level,))
                    writer.write(features[spec.level])
                    seen = done + writer.written
                    context.progress(seen / total, f"{seen}/{total} images")
            done += len(batches)
        return StageResult({"images": float(total)})
