"""What methods share: which levels are compared, channels of the maps, and what fits together."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

from mlfd_tune.core.errors import UserError
from mlfd_tune.core.losses import FEATURE_LOSSES
from mlfd_tune.core.models import StudentAdaptors, level_shapes
from mlfd_tune.core.models.levels import map_levels
from mlfd_tune.core.stages.model_files import without_memory

if TYPE_CHECKING:
    from mlfd_tune.core.settings import PipelineSettings

__all__ = ["compared_levels", "eq3_problems", "joint_channels", "target_shape_problems"]


def compared_levels(settings: PipelineSettings, levels: Sequence[str]) -> tuple[str, ...]:
    """Return those of `levels` that the feature loss can compare: some are for maps only."""
    loss = FEATURE_LOSSES[settings.distillation.feature_loss]
    return tuple(levels) if loss.takes_vectors else map_levels(levels)


def joint_channels(settings: PipelineSettings, datasets: Sequence[str]) -> dict[str, int]:
    """Return the channels of a joint teacher's maps: the student's own, so none needs an adaptor.

    Where students of several architectures share a joint teacher, its width. At L1 there is no
    map, so the student's architecture leaves the joint teacher as it is.
    """
    students = {
        (settings.student_arch(name), settings.student_image_size(name)) for name in datasets
    }
    levels = map_levels(settings.joint_teacher.levels)
    if len({arch for arch, _ in students}) > 1:
        return dict.fromkeys(levels, settings.joint_teacher.width)
    shapes = level_shapes(*students.pop())
    return {level: shapes[level][0] for level in levels}


def eq3_problems(settings: PipelineSettings, levels: Sequence[str]) -> Iterator[str]:
    """Yield why there is nothing to learn, or nothing to compare."""
    chosen = settings.distillation
    compared = compared_levels(settings, levels)
    if levels and not compared:
        yield (
            f"distillation.feature_loss: {chosen.feature_loss!r} compares maps, and there are none "
            f"among the levels {', '.join(levels)} (allowed: a level such as stride32 beside them)"
        )
    beta = max((chosen.beta[level] for level in compared), default=0.0)
    if not any((chosen.alpha, chosen.ce_weight, beta)):
        yield (
            "distillation: alpha, ce_weight and the beta of every distilled level are 0, so there "
            "is nothing to learn (allowed: at least one above 0)"
        )
    elif not chosen.ce_weight:
        # Schedules reach 0 at their ends only, the first epoch and the last.
        for epoch, when in ((1, "first"), (2, "last")):
            alpha = chosen.alpha * chosen.alpha_schedule.factor(epoch, 2)
            if not alpha and not beta * chosen.beta_schedule.factor(epoch, 2):
                yield (
                    f"distillation: ce_weight is 0 and the schedules bring alpha and beta to 0 in "
                    f"the {when} epoch, so there is nothing to learn in it"
                )


def target_shape_problems(
    settings: PipelineSettings,
    target: str,
    levels: Sequence[str],
    shapes: Mapping[str, tuple[int, ...]],
) -> Iterator[str]:
    """Find out whether the student's adaptors can reach the targets, from shapes alone."""
    arch, chosen = settings.student_arch(target), settings.distillation
    student = level_shapes(arch, settings.student_image_size(target))
    for level in compared_levels(settings, levels):
        try:
            with without_memory():
                StudentAdaptors(
                    student,
                    shapes,
                    (level,),
                    chosen.adaptor,
                    residual=chosen.residual,
                    alignment=chosen.alignment,
                    compares=FEATURE_LOSSES[chosen.feature_loss].compares,
                )
        except UserError as error:
            yield f"distillation.adaptor: student of {target} at {level}: {error}"
