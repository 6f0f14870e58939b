"""A joint teacher run over images: the frozen teachers, and what fuses them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from mlfd_tune.core.data import PackedDataset
from mlfd_tune.core.models import Backbone, finest
from mlfd_tune.core.models.levels import EMBEDDING
from mlfd_tune.core.stages.features import HALF_MAX
from mlfd_tune.core.stages.images import ImageBatches
from mlfd_tune.core.stages.joint_teacher import JointTeacherStage, load_joint_teacher
from mlfd_tune.core.stages.model_files import load_description
from mlfd_tune.core.stages.readers import Reader, Reading
from mlfd_tune.core.stages.teacher import Teacher, load_backbone
from mlfd_tune.core.store import Artifact, Stage

if TYPE_CHECKING:
    from mlfd_tune.core.stages.dataset import DatasetStage

__all__ = ["JointReader"]


class JointReader(Reader):
    """Reads with a joint teacher and the teachers it fuses, each at its own image size.

    Args:
        joint_teacher: The joint teacher.
        target: The dataset whose head gives the logits.
    """

    def __init__(self, joint_teacher: JointTeacherStage, target: str) -> None:
        self.joint_teacher = joint_teacher
        self.target = target
        self.threads = joint_teacher.spec.train.threads
        self.label = joint_teacher.label

    @property
    def teachers(self) -> dict[str, Teacher]:
        """The frozen teachers by name."""
        joint = self.joint_teacher
        return {name: joint.features[name, self.target].teacher for name in joint.teachers}

    def inputs(self, data: DatasetStage) -> dict[str, Stage]:  # noqa: D102
        stages: dict[str, Stage] = {"network": self.joint_teacher}
        for name, teacher in self.teachers.items():
            stages[f"teacher/{name}"] = teacher
            stages[f"images/{name}"] = data.resized(teacher.data.spec.image_size)
        return stages

    def read(  # noqa: D102
        self, inputs: Mapping[str, Artifact], split: str, device: torch.device
    ) -> Iterator[Reading]:
        joint = load_joint_teacher(inputs["network"].path, device)
        level = finest(self.joint_teacher.spec.fusion.levels)
        models = {
            name: load_backbone(inputs[f"teacher/{name}"].path, device) for name in self.teachers
        }
        packed = {name: PackedDataset(inputs[f"images/{name}"].path) for name in self.teachers}
        own = _classes(packed) == self.joint_teacher.data(self.target).listing[1]
        batches = [
            _images(packed[name], inputs[f"teacher/{name}"], split, device).clean()
            for name in models
        ]
        for of_teachers in zip(*batches, strict=True):
            labels = of_teachers[0][1]
            with torch.inference_mode():
                features = {
                    name: _as_cached(model, images, level)
                    for (name, model), (images, _) in zip(models.items(), of_teachers, strict=True)
                }
                embedding = joint(features)[EMBEDDING]
                logits = joint.logits(embedding, self.target) if own else None
            yield Reading(logits, embedding, labels)

    def parameters(self, inputs: Mapping[str, Artifact]) -> int:  # noqa: D102
        cpu = torch.device("cpu")
        networks = [load_joint_teacher(inputs["network"].path, cpu)]
        backbones = [load_backbone(inputs[f"teacher/{name}"].path, cpu) for name in self.teachers]
        return sum(
            parameter.numel()
            for network in [*networks, *backbones]
            for parameter in network.parameters()
        )


def _classes(packed: Mapping[str, PackedDataset]) -> tuple[str, ...]:
    return next(iter(packed.values())).classes


def _images(
    packed: PackedDataset, teacher: Artifact, split: str, device: torch.device
) -> ImageBatches:
    about = load_description(teacher.path)
    return ImageBatches(packed, split, device, tuple(about["mean"]), tuple(about["std"]))


def _as_cached(model: Backbone, images: Tensor, level: str) -> Tensor:
    """Return features rounded as those are that the joint teacher has learned from."""
    _, features = model(images, levels=(level,))
    values: Tensor = features[level].float()
    return values.clamp(-HALF_MAX, HALF_MAX).half().float()
