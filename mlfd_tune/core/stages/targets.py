"""Stage `targets`: what the joint teacher says of one dataset (Algorithm 1, steps 17-18)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import cached_property, partial

import torch
from torch import Tensor

from mlfd_tune.core.models.levels import EMBEDDING
from mlfd_tune.core.numeric import fixed_threads
from mlfd_tune.core.spec import Spec
from mlfd_tune.core.stages.feature_files import features_name
from mlfd_tune.core.stages.feature_sources import without_autocast
from mlfd_tune.core.stages.joint_teacher import JointTeacherStage, load_joint_teacher
from mlfd_tune.core.stages.target_files import TargetsWriter, targets_bytes
from mlfd_tune.core.stages.teacher import load_backbone
from mlfd_tune.core.stages.view_targets import JointView, teacher_name
from mlfd_tune.core.store import Artifact, Stage, StageContext, StageResult

__all__ = ["JointTargets", "TargetsSpec", "TargetsStage"]


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

    @property
    def out_shapes(self) -> dict[str, tuple[int, ...]]:
        """Shape of one image's target at every level."""
        return self.joint_teacher.out_shapes

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
        return targets_bytes(self.out_shapes, data.num_classes, data.counts["train"])

    def maker(self, inputs: Mapping[str, Artifact], device: torch.device) -> JointTargets:
        """Return what makes the targets, with the artifacts that this stage reads."""
        return JointTargets(self.joint_teacher, self.spec.dataset, inputs, device)

    def networks(self) -> dict[str, Stage]:
        """Return the stages of the networks that say the targets, as `JointView` names them."""
        joint = self.joint_teacher
        teachers = {name: joint.features[name, self.dataset].teacher for name in joint.teachers}
        return {"joint_teacher": joint} | {teacher_name(name): teachers[name] for name in teachers}

    def view(self, inputs: Mapping[str, Artifact], device: torch.device) -> JointView:
        """Return what says the targets of any images, with the artifacts of `networks`."""
        return JointView(self.joint_teacher, self.dataset, inputs, device)

    def run(self, context: StageContext) -> StageResult:
        """Fuse the features and keep logits and features."""
        maker = self.maker(context.inputs, torch.device(context.device))
        writer = TargetsWriter(context.out, len(maker), maker.out_shapes, self.spec.dtype)
        for logits, fused in maker.batches():
            writer.write(logits, fused)
            done = writer.written
            context.progress(done / len(maker), f"{done}/{len(maker)} images")
        with fixed_threads(self.joint_teacher.spec.train.threads):
            metrics = writer.close(maker.labels)
        validation = context.inputs["joint_teacher"].manifest.metrics
        for name in ("acc1", "acc5"):
            metrics[f"val/{name}"] = validation[f"val/{name}/{self.spec.dataset}"]
        return StageResult(metrics)


class JointTargets:
    """A joint teacher run over the features of one dataset's clean training images.

    Args:
        joint_teacher: The joint teacher.
        dataset: One of the datasets it has a head for.
        inputs: The artifacts that `TargetsStage` reads.
        device: Where it runs.
    """

    def __init__(
        self,
        joint_teacher: JointTeacherStage,
        dataset: str,
        inputs: Mapping[str, Artifact],
        device: torch.device,
    ) -> None:
        self.out_shapes = joint_teacher.out_shapes
        self._model = load_joint_teacher(inputs["joint_teacher"].path, device)
        load = partial(load_backbone, device=device)
        self._features = joint_teacher.source(inputs, dataset, "train", device, load)
        self.labels = self._features.labels
        self._dataset = dataset
        self._device = device
        self._threads = joint_teacher.spec.train.threads

    def __len__(self) -> int:
        return len(self._features)

    def batches(self) -> Iterator[tuple[Tensor, dict[str, Tensor]]]:
        """Yield logits (N, K) and the features of every fused level, in order."""
        for features, _ in self._features.batches(self._device):
            yield self._fused(features)

    def gather(self, indices: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        """Return logits (N, K) and the features of every fused level of the samples `indices`."""
        return self._fused(self._features.gather(indices.numpy(), self._device))

    def _fused(self, features: Mapping[str, Tensor]) -> tuple[Tensor, dict[str, Tensor]]:
        with torch.no_grad(), fixed_threads(self._threads), without_autocast(self._device):
            fused = self._model(features)
            return self._model.logits(fused[EMBEDDING], self._dataset), fused
