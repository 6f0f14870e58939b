"""Distillation straight from one teacher, with no fusion in between."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from mlfd_tune.core.methods.base import METHODS, Method
from mlfd_tune.core.methods.shapes import eq3_problems, target_shape_problems
from mlfd_tune.core.models import level_shapes
from mlfd_tune.core.stages import (
    DistilledStudentStage,
    StudentStage,
    Teacher,
    TeacherTargetsStage,
)

if TYPE_CHECKING:
    from mlfd_tune.core.pipeline import Pipeline
    from mlfd_tune.core.settings import PipelineSettings

__all__ = ["FitNet", "KnowledgeDistillation", "SelfDistillation"]


@METHODS.register("kd")
class KnowledgeDistillation(Method):
    """The logits of the dataset's own teacher (Hinton et al. 2015).

    The teacher may be larger than the student: set `teachers.<dataset>.arch` and
    `students.<dataset>.arch`.
    """

    description = "distil the logits of the dataset's own teacher (Hinton et al. 2015)"
    sections = ("teachers", "distillation")

    def levels(self, settings: PipelineSettings) -> tuple[str, ...]:
        """Return the levels whose features are distilled."""
        return ()

    def student(self, pipeline: Pipeline, target: str, seed: int) -> StudentStage:  # noqa: D102
        levels = self.levels(pipeline.settings)
        spec = pipeline.distilled_spec(target, seed, levels)
        targets = TeacherTargetsStage(self._teacher(pipeline, target), levels)
        return DistilledStudentStage(pipeline.student_data(target), spec, targets)

    def teacher_levels(self, settings: PipelineSettings) -> tuple[str, ...]:  # noqa: D102
        return self.levels(settings)

    def student_levels(self, settings: PipelineSettings) -> tuple[str, ...]:  # noqa: D102
        return self.levels(settings)

    def problems(self, settings: PipelineSettings) -> Iterator[str]:  # noqa: D102
        levels = self.levels(settings)
        yield from eq3_problems(settings, levels)
        for target in settings.datasets:
            shapes = level_shapes(*self._teacher_network(settings, target))
            yield from target_shape_problems(settings, target, levels, shapes)

    def _teacher(self, pipeline: Pipeline, target: str) -> Teacher:
        return pipeline.teacher(target)

    def _teacher_network(self, settings: PipelineSettings, target: str) -> tuple[str, int]:
        """Return the teacher's architecture and image size."""
        return settings.teachers[target].arch, settings.teacher_image_size(target)


@METHODS.register("fitnet")
class FitNet(KnowledgeDistillation):
    """One hint level and the logits of the dataset's own teacher (Romero et al. 2015).

    The hint is learned together with the logits, not in a stage before; the regressor is the
    student's adaptor. Set `distillation.alpha: 0` for the hint alone.
    """

    description = "distil one hint level and the logits of the own teacher (Romero et al. 2015)"

    def levels(self, settings: PipelineSettings) -> tuple[str, ...]:  # noqa: D102
        return (settings.distillation.hint_level,)


@METHODS.register("self_distillation")
class SelfDistillation(KnowledgeDistillation):
    """The control: a teacher of the student's own architecture and training, with no fusion.

    What is gained here is gained by being distilled at all (Furlanello et al. 2018, born-again
    networks), at the levels of the joint teacher.
    """

    description = "the same loss from a network trained just like the student (born-again)"
    role = "control"
    sections = ("joint_teacher", "distillation")

    def levels(self, settings: PipelineSettings) -> tuple[str, ...]:  # noqa: D102
        return settings.joint_teacher.levels

    def teacher_levels(self, settings: PipelineSettings) -> tuple[str, ...]:  # noqa: D102
        return ()

    def _teacher(self, pipeline: Pipeline, target: str) -> Teacher:
        return pipeline.earlier_generation(target)

    def _teacher_network(self, settings: PipelineSettings, target: str) -> tuple[str, int]:
        return settings.student_arch(target), settings.student_image_size(target)
