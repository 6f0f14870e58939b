"""Stage `targets`: what the joint teacher says of one dataset (Algorithm 1, steps 17-18)."""

from __future__ import annotations

import math
from functools import cached_property
from pathlib import Path

import numpy as np
import torch

from mlfd_tune.core.metrics import AccuracyMeter
from mlfd_tune.core.numeric import fixed_threads
from mlfd_tune.core.spec import Spec
from mlfd_tune.core.stages.features import to_half
from mlfd_tune.core.stages.joint_teacher import (
    CachedFeatures,
    JointTeacherStage,
    features_name,
    load_joint_teacher,
)
from mlfd_tune.core.stages.model_files import NPY_HEADER
from mlfd_tune.core.store import Stage, StageContext, StageResult

__all__ = ["TargetsSpec", "TargetsStage", "level_file"]


class TargetsSpec(Spec):
    """Identity of targets, beside the joint teacher and its features."""

    dataset: str
    dtype: str = "float16"


class TargetsStage(Stage):
    """Runs a joint teacher once over the clean training images of one dataset.

    Writes ``logits.npy`` (N, K) as float32, and ``<level>.npy`` of shape (N, C) or (N, C, H, W) as
    float16 for every fused level. Its metrics say how good the joint teacher is on the dataset.

    Args:
        joint_teacher: The trained joint teacher.
        dataset: One of the datasets it has a head for.
    """

    name = "targets"
    spec: TargetsSpec

    def __init__(self, joint_teacher: JointTeacherStage, dataset: str) -> None:
        self.joint_teacher = joint_teacher
        self.spec = TargetsSpec(dataset=dataset)

    @cached_property
    def inputs(self) -> dict[str, Stage]:  # noqa: D102
        joint, dataset = self.joint_teacher, self.spec.dataset
        names = [features_name(teacher, dataset) for teacher in joint.teachers]
        names.append(f"dataset/{dataset}")
        return {"joint_teacher": joint} | {name: joint.inputs[name] for name in names}

    @property
    def label(self) -> str:  # noqa: D102
        _, _, joint = self.joint_teacher.label.partition(" (")
        return f"targets {self.spec.dataset} ({joint}"

    @property
    def dataset(self) -> str:  # noqa: D102
        return self.spec.dataset

    def estimate_bytes(self) -> int:
        """For every training image two bytes a value at every fused level, and four a logit."""
        data, shapes = self.joint_teacher.data(self.spec.dataset), self.joint_teacher.out_shapes
        values = sum(math.prod(shape) for shape in shapes.values())
        per_image = 2 * values + 4 * data.num_classes
        return per_image * data.counts["train"] + (len(shapes) + 1) * NPY_HEADER

    def run(self, context: StageContext) -> StageResult:
        """Fuse the cached features and keep logits and maps."""
        device = torch.device(context.device)
        model = load_joint_teacher(context.inputs["joint_teacher"].path, device)
        dataset, teachers = self.spec.dataset, self.joint_teacher.teachers
        training = CachedFeatures(context.inputs, teachers, dataset, "train")
        arrays = {
            level: self._new_array(context.out / level_file(level), (len(training), *shape))
            for level, shape in self.joint_teacher.out_shapes.items()
        }
        all_logits = []
        with torch.inference_mode(), fixed_threads(self.joint_teacher.spec.train.threads):
            first = 0
            for features, labels in training.batches(device):
                fused = model(features)
                all_logits.append(model.logits(fused["embedding"], dataset).float().cpu())
                for level, array in arrays.items():
                    array[first : first + len(labels)] = to_half(fused[level])
                first += len(labels)
                context.progress(first / len(training), f"{first}/{len(training)} images")
        for array in arrays.values():
            array.flush()
        logits = torch.cat(all_logits)
        np.save(context.out / "logits.npy", logits.numpy())
        meter = AccuracyMeter()
        meter.update(logits, training.labels)
        metrics = {f"train/{name}": value for name, value in meter.compute().items()}
        validation = context.inputs["joint_teacher"].manifest.metrics
        metrics["val/acc1"] = validation[f"val/acc1/{dataset}"]
        metrics["val/acc5"] = validation[f"val/acc5/{dataset}"]
        return StageResult(metrics)

    def _new_array(self, path: Path, shape: tuple[int, ...]) -> np.memmap:
        return np.lib.format.open_memmap(path, mode="w+", dtype=self.spec.dtype, shape=shape)


def level_file(level: str) -> str:
    """Return the name of the file that holds the targets at a level."""
    return f"{level}.npy"
