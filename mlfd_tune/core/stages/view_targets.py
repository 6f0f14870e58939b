"""Targets of the very images that a student sees: the teachers run along in every step.

Consistent teaching: teacher and student are given the same view of an image (Beyer et al. 2022,
"Knowledge distillation: A good teacher is patient and consistent", arXiv 2106.05237, section 3.1).
MLFD computes its targets once, from clean images.

But for the images all is as there: the precision that networks compute in, the rounding of features
to half precision, and the norm, which is fitted to the clean targets. So a beta means the same
under both views, and arms that differ in the view differ in nothing else.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import torch
import torch.nn.functional as F
from torch import Tensor

from mlfd_tune.core.data import normalise
from mlfd_tune.core.layout import image_layout
from mlfd_tune.core.models.levels import EMBEDDING
from mlfd_tune.core.numeric import Precision, autocast, fixed_threads
from mlfd_tune.core.stages.feature_sources import as_stored, without_autocast
from mlfd_tune.core.stages.joint_teacher import JointTeacherStage, load_joint_teacher
from mlfd_tune.core.stages.model_files import load_description
from mlfd_tune.core.stages.target_sources import TargetSource
from mlfd_tune.core.stages.teacher import load_backbone
from mlfd_tune.core.target_norm import TargetNorm

if TYPE_CHECKING:
    from mlfd_tune.core.store import Artifact

__all__ = ["JointView", "TeacherView", "View", "ViewTargets", "teacher_name"]


class View(Protocol):
    """What a teacher says of images. Values are not yet rounded, not normalised.

    Attributes:
        out_shapes: Shape of one image's target at every level.
    """

    out_shapes: Mapping[str, tuple[int, ...]]

    def __call__(self, images: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        """Return logits (N, K) and features by level of images (N, 3, H, W) in 0-1."""
        ...


class TeacherView:
    """One frozen teacher, shown the images of a student.

    Images of another size than the teacher's are brought to it by antialiased bilinear
    interpolation: they are to be the student's images, crop and all, and of those there is no
    other copy. A teacher of larger images than the student's so sees less than in clean ones,
    which are packed from the originals at the teacher's own size.

    Args:
        path: Folder of the teacher's artifact.
        out_shapes: Shape of one image's features at every level to give.
        threads: Intra-op threads on CPU.
        precision: What it computes in, whatever the student's step does.
        device: Where it runs.
    """

    def __init__(
        self,
        path: Path,
        out_shapes: Mapping[str, tuple[int, ...]],
        threads: int,
        precision: Precision,
        device: torch.device,
    ) -> None:
        about = load_description(path)
        self.out_shapes = out_shapes
        self._size: int = about["image_size"]
        self._mean = torch.tensor(about["mean"], device=device)
        self._std = torch.tensor(about["std"], device=device)
        self._layout = image_layout(device)
        self._model = load_backbone(path, device).to(memory_format=self._layout)
        self._threads = threads
        self._precision = precision
        self._device = device

    def __call__(self, images: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        """Return logits (N, K) and features by level of images (N, 3, H, W) in 0-1."""
        with (
            torch.no_grad(),
            fixed_threads(self._threads),
            autocast(self._device, self._precision),
        ):
            seen = normalise(_at_size(images, self._size), self._mean, self._std)
            logits, features = self._model(
                seen.contiguous(memory_format=self._layout), levels=tuple(self.out_shapes)
            )
        return logits, features


class JointView:
    """A joint teacher and all the teachers it fuses, shown the images of a student.

    Args:
        joint_teacher: The joint teacher.
        dataset: The dataset whose head gives the logits.
        inputs: Its artifact as ``joint_teacher``, and the teachers' by `teacher_name`.
        device: Where they run.
    """

    def __init__(
        self,
        joint_teacher: JointTeacherStage,
        dataset: str,
        inputs: Mapping[str, Artifact],
        device: torch.device,
    ) -> None:
        self.out_shapes: Mapping[str, tuple[int, ...]] = joint_teacher.out_shapes
        self._model = load_joint_teacher(inputs["joint_teacher"].path, device)
        self._features = {
            name: joint_teacher.features[name, dataset] for name in joint_teacher.teachers
        }
        self._teachers = {
            name: TeacherView(
                inputs[teacher_name(name)].path,
                {stage.spec.level: stage.shape},
                stage.teacher.threads,
                stage.spec.precision,
                device,
            )
            for name, stage in self._features.items()
        }
        self._dataset = dataset
        self._threads = joint_teacher.spec.train.threads
        self._device = device

    def __call__(self, images: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        """Return logits (N, K) and the features of every fused level; images are in 0-1."""
        seen = {}
        for name, teacher in self._teachers.items():
            spec = self._features[name].spec
            _, features = teacher(images)
            seen[name] = as_stored(features[spec.level], spec.dtype)
        with torch.no_grad(), fixed_threads(self._threads), without_autocast(self._device):
            fused = self._model(seen)
            return self._model.logits(fused[EMBEDDING], self._dataset), fused


class ViewTargets(TargetSource):
    """What a student learns from the images it sees, rounded and normalised as clean targets are.

    Args:
        view: The networks that say it.
        norms: The norm of every level to give.
        device: Where the networks run.
    """

    def __init__(self, view: View, norms: Mapping[str, TargetNorm], device: torch.device) -> None:
        self.view = view
        self.norms = {level: norm.to(device) for level, norm in norms.items()}

    def shapes(self) -> dict[str, tuple[int, ...]]:  # noqa: D102
        return {level: self.view.out_shapes[level] for level in self.norms}

    def taught(self, indices: Tensor, images: Tensor) -> tuple[Tensor, dict[str, Tensor]]:  # noqa: D102
        logits, features = self.view(images)
        with torch.no_grad():
            return logits.float(), {
                level: norm(as_stored(features[level])) for level, norm in self.norms.items()
            }


def teacher_name(teacher: str) -> str:
    """Return the input name of a teacher that is fused."""
    return f"teacher/{teacher}"


def _at_size(images: Tensor, size: int) -> Tensor:
    if images.shape[-1] == size:
        return images
    return F.interpolate(
        images, size=(size, size), mode="bilinear", align_corners=False, antialias=True
    )
