"""Distillation from a joint teacher: of all teachers, and the control with the dataset's own."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, ClassVar

from mlfd_tune.core.errors import UserError
from mlfd_tune.core.methods.base import METHODS, Method
from mlfd_tune.core.methods.shapes import (
    eq3_problems,
    joint_channels,
    target_shape_problems,
)
from mlfd_tune.core.models import check_adaptor, finest, joint_out_shapes, level_shapes
from mlfd_tune.core.stages import (
    DistilledStudentStage,
    JointReadingStage,
    TargetsStage,
    TrialStage,
)

if TYPE_CHECKING:
    from mlfd_tune.core.pipeline import Pipeline
    from mlfd_tune.core.settings import PipelineSettings

__all__ = ["JointTeacherItself", "Mlfd", "OwnTeacher"]


@METHODS.register("mlfd")
class Mlfd(Method):
    """Multi-Level Feature Distillation: the joint teacher's logits and features (Algorithm 1)."""

    description = "distil the joint teacher of all datasets' teachers (MLFD)"
    sections: ClassVar[tuple[str, ...]] = ("teachers", "joint_teacher", "distillation")

    def student(self, pipeline: Pipeline, target: str, seed: int) -> TrialStage:  # noqa: D102
        teachers, datasets = self.fused(pipeline.settings, target)
        targets = TargetsStage(pipeline.joint_teacher(teachers, datasets), target)
        levels = pipeline.settings.joint_teacher.levels
        spec = pipeline.distilled_spec(target, seed, levels)
        return DistilledStudentStage(pipeline.student_data(target), spec, targets)

    def teacher_levels(self, settings: PipelineSettings) -> tuple[str, ...]:  # noqa: D102
        return (finest(settings.joint_teacher.levels),)

    def student_levels(self, settings: PipelineSettings) -> tuple[str, ...]:  # noqa: D102
        return settings.joint_teacher.levels

    def problems(self, settings: PipelineSettings) -> Iterator[str]:  # noqa: D102
        fusion = settings.joint_teacher
        found = list(eq3_problems(settings, fusion.levels))
        try:
            check_adaptor(fusion.adaptor, fusion.levels, residual=fusion.residual)
        except UserError as error:
            found.append(f"joint_teacher.adaptor: {error}")
        yield from found
        if found:  # shapes can only be asked of what can be built
            return
        for target in settings.datasets:
            yield from target_shape_problems(
                settings, target, fusion.levels, self._target_shapes(settings, target)
            )

    def fused(self, settings: PipelineSettings, target: str) -> tuple[list[str], list[str]]:
        """Return whose teachers are fused for `target`'s student, and whose labels they learn."""
        names = list(settings.datasets)
        teachers = list(settings.joint_teacher.teachers or names)
        return teachers, names if settings.joint_teacher.heads == "shared" else [target]

    def _target_shapes(self, settings: PipelineSettings, target: str) -> dict[str, tuple[int, ...]]:
        fusion = settings.joint_teacher
        teachers, datasets = self.fused(settings, target)
        level = finest(fusion.levels)
        in_shapes = {
            name: level_shapes(settings.teachers[name].arch, settings.teacher_image_size(name))[
                level
            ]
            for name in teachers
        }
        channels = joint_channels(settings, datasets)
        return joint_out_shapes(
            fusion.levels, channels, in_shapes, fusion.width, fusion.adaptor, fusion.fuse_at
        )


@METHODS.register("own_teacher")
class OwnTeacher(Mlfd):
    """The control: the same distillation, with the dataset's own teacher as the only one."""

    description = "the same distillation from the dataset's own teacher only"
    role = "control"

    def fused(self, settings: PipelineSettings, target: str) -> tuple[list[str], list[str]]:  # noqa: D102
        return [target], [target]


@METHODS.register("joint_teacher")
class JointTeacherItself(Mlfd):
    """No student: the joint teacher of method `mlfd`, measured on the target (Tables 2 to 4)."""

    description = "no student: how the joint teacher itself does, trained with the trial's seed"
    role = "reference"
    sections = ("teachers", "joint_teacher")

    def student(self, pipeline: Pipeline, target: str, seed: int) -> TrialStage:  # noqa: D102
        teachers, datasets = self.fused(pipeline.settings, target)
        return JointReadingStage(pipeline.joint_teacher(teachers, datasets, seed), target)
