"""Taking up a cache plan: which of a stage's lessons the store holds, and which it makes itself."""

from __future__ import annotations

from mlfd_tune.core.caching import Caching
from mlfd_tune.core.stages.distillation import DistilledStudentStage
from mlfd_tune.core.stages.joint_teacher import JointTeacherStage
from mlfd_tune.core.stages.unic import UnicStage
from mlfd_tune.core.store import Stage

__all__ = ["follow_caching"]


def follow_caching(stage: Stage, caching: Caching) -> None:
    """Let a stage that can make its lessons itself have them as `caching` says.

    Stages of other packages read artifacts, as they always have: they keep them stored.
    """
    match stage:
        case JointTeacherStage() | UnicStage():
            stage.caching = caching
            for features in stage.features.values():
                features.stored = caching.plan != "none"
        case DistilledStudentStage():
            stage.caching = caching
            stage.targets.stored = caching.plan == "targets"
        case _:
            pass
