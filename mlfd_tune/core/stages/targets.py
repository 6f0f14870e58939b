"""Stage `targets`: what the joint teacher says of one dataset (Algorithm 1, steps 17-18)."""

from __future__ import annotations

from functools import cached_property

import torch

from mlfd_tune.core.numeric import fixed_threads
from mlfd_tune.core.spec import Spec
from mlfd_tune.core.stages.feature_files import CachedFeatures, features_name
from mlfd_tune.core.stages.joint_teacher import JointTeacherStage, load_joint_teacher
from mlfd_tune.core.stages.target_files import TargetsWriter, targets_bytes
from mlfd_tune.core.store import Stage, StageContext, StageResult

__all__ = ["TargetsSpec", "TargetsStage"]


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

    def estimate_bytes(self) -> int:  # noqa: D102
        data = self.joint_teacher.data(self.spec.dataset)
        return targets_bytes(self.joint_teacher.out_shapes, data.num_classes, data.counts["train"])

    def run(self, context: StageContext) -> StageResult:
        """Fuse the cached features and keep logits and features."""
        device = torch.device(context.device)
        model = load_joint_teacher(context.inputs["joint_teacher"].path, device)
        dataset, teachers = self.spec.dataset, self.joint_teacher.teachers
        training = CachedFeatures(context.inputs, teachers, dataset, "train")
        shapes, dtype = self.joint_teacher.out_shapes, self.spec.dtype
        writer = TargetsWriter(context.out, len(training), shapes, dtype)
        with torch.inference_mode(), fixed_threads(self.joint_teacher.spec.train.threads):
            for features, _ in training.batches(device):
                fused = model(features)
                writer.write(model.logits(fused["embedding"], dataset), fused)
                done = writer.written
                context.progress(done / len(training), f"{done}/{len(training)} images")
        metrics = writer.close(training.labels)
        validation = context.inputs["joint_teacher"].manifest.metrics
        for name in ("acc1", "acc5"):
            metrics[f"val/{name}"] = validation[f"val/{name}/{dataset}"]
        return StageResult(metrics)
