"""UNIC: several frozen teachers straight to the student (Sariyildiz et al. 2024)."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from mlfd_tune.core.methods.base import METHODS, Method
from mlfd_tune.core.models import LEVELS, level_shapes
from mlfd_tune.core.stages import StudentStage, UnicSpec, UnicStage, UnicStudentSpec

if TYPE_CHECKING:
    from mlfd_tune.core.pipeline import Pipeline
    from mlfd_tune.core.settings import PipelineSettings

__all__ = ["Unic"]

_LEVEL_OF = {"embedding": "embedding", "map": "stride32"}


@METHODS.register("unic")
class Unic(Method):
    """No joint teacher: a ladder of expendable projectors predicts every teacher's features."""

    description = "several teachers' features through a ladder of projectors (UNIC)"
    sections = ("teachers", "unic")

    def student(self, pipeline: Pipeline, target: str, seed: int) -> StudentStage:  # noqa: D102
        settings, chosen = pipeline.settings, pipeline.settings.unic
        teachers = tuple(sorted(chosen.teachers or settings.datasets))
        features = {
            (teacher, level): pipeline.features(teacher, target, level, "float16")
            for teacher in teachers
            for level in self.teacher_levels(settings)
        }
        unic = UnicSpec(
            teachers=teachers,
            rungs=self._rungs(settings, target),
            token_types=chosen.token_types,
            map_level=_LEVEL_OF["map"],
            hidden=chosen.hidden,
            last_hidden=chosen.last_hidden,
            dropping=chosen.dropping,
            # Without dropping the rate has no part in the result, nor in its identity.
            drop_rate=0.0 if chosen.dropping == "none" else chosen.drop_rate,
            weight=chosen.weight,
            ce_weight=chosen.ce_weight,
            labels=chosen.labels,
        )
        spec = UnicStudentSpec(**dict(pipeline.student_spec(target, seed)), unic=unic)
        return UnicStage(pipeline.student_data(target), spec, features)

    def teacher_levels(self, settings: PipelineSettings) -> tuple[str, ...]:  # noqa: D102
        return tuple(_LEVEL_OF[kind] for kind in settings.unic.token_types)

    def student_levels(self, settings: PipelineSettings) -> tuple[str, ...]:  # noqa: D102
        return settings.unic.rungs or ()

    def problems(self, settings: PipelineSettings) -> Iterator[str]:  # noqa: D102
        chosen = settings.unic
        if not chosen.weight and not (chosen.ce_weight and chosen.labels):
            yield (
                "unic: weight is 0 and labels do not reach the student, so there is nothing to "
                "learn (allowed: weight above 0, or labels with ce_weight above 0)"
            )
        if not chosen.ce_weight:
            yield "unic.ce_weight: 0 leaves the classifier untrained (allowed: above 0)"
        for target in settings.datasets:
            rungs = self._rungs(settings, target)
            if "map" in chosen.token_types and rungs == ("embedding",):
                yield (
                    f"unic.rungs: student of {target} has no rung that is a map, and token type "
                    "'map' needs one (allowed: a level such as stride32)"
                )

    def _rungs(self, settings: PipelineSettings, target: str) -> tuple[str, ...]:
        if settings.unic.rungs is not None:
            return settings.unic.rungs
        shapes = level_shapes(settings.student_arch(target), settings.student_image_size(target))
        return tuple(level for level in LEVELS if level in shapes)
