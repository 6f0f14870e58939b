"""Stage `targets` from one network: its own logits and features, with no fusion in between."""

from __future__ import annotations

from functools import cached_property

import torch

from mlfd_tune.core.data import PackedDataset
from mlfd_tune.core.models import level_shapes
from mlfd_tune.core.numeric import fixed_threads
from mlfd_tune.core.spec import Spec
from mlfd_tune.core.stages.images import ImageBatches
from mlfd_tune.core.stages.model_files import load_description
from mlfd_tune.core.stages.target_files import TargetsWriter, targets_bytes
from mlfd_tune.core.stages.teacher import Teacher, load_backbone
from mlfd_tune.core.store import Stage, StageContext, StageResult

__all__ = ["TeacherTargetsSpec", "TeacherTargetsStage"]


class TeacherTargetsSpec(Spec):
    """Identity of one network's targets, beside the network and its dataset."""

    levels: tuple[str, ...]
    dtype: str = "float16"


class TeacherTargetsStage(Stage):
    """Runs one teacher over the clean training images of its own dataset.

    Writes what the joint teacher's `TargetsStage` writes: ``logits.npy`` (N, K) as float32, and
    ``<level>.npy`` of shape (N, C) or (N, C, H, W) as float16 for every level asked for.

    Args:
        teacher: The network.
        levels: The levels to keep; none for logits alone.
    """

    name = "targets"
    spec: TeacherTargetsSpec

    def __init__(self, teacher: Teacher, levels: tuple[str, ...] = ()) -> None:
        self.teacher = teacher
        self.spec = TeacherTargetsSpec(levels=levels)

    @cached_property
    def inputs(self) -> dict[str, Stage]:  # noqa: D102
        return {"teacher": self.teacher, "dataset": self.teacher.data}

    @property
    def label(self) -> str:  # noqa: D102
        levels = "+".join(self.spec.levels) or "logits"
        return f"targets {self.dataset} (own teacher {self.teacher.spec.arch}, {levels})"

    @property
    def dataset(self) -> str:  # noqa: D102
        return self.teacher.dataset

    @cached_property
    def out_shapes(self) -> dict[str, tuple[int, ...]]:
        """Shape of one image's target at every level."""
        shapes = level_shapes(self.teacher.spec.arch, self.teacher.data.spec.image_size)
        return {level: shapes[level] for level in self.spec.levels}

    def estimate_bytes(self) -> int:  # noqa: D102
        data = self.teacher.data
        return targets_bytes(self.out_shapes, data.num_classes, data.counts["train"])

    def run(self, context: StageContext) -> StageResult:
        """Run the teacher in large batches and keep logits and features."""
        device, teacher = torch.device(context.device), context.inputs["teacher"]
        model, about = load_backbone(teacher.path, device), load_description(teacher.path)
        packed = PackedDataset(context.inputs["dataset"].path)
        batches = ImageBatches(
            packed, "train", device, mean=tuple(about["mean"]), std=tuple(about["std"])
        )
        writer = TargetsWriter(context.out, len(batches), self.out_shapes, self.spec.dtype)
        with torch.inference_mode(), fixed_threads(self.teacher.threads):
            for images, _ in batches.clean():
                writer.write(*model(images, levels=self.spec.levels))
                done = writer.written
                context.progress(done / len(batches), f"{done}/{len(batches)} images")
        metrics = writer.close(batches.labels)
        for name in ("val/acc1", "val/acc5"):
            metrics[name] = teacher.manifest.metrics[name]
        return StageResult(metrics)
