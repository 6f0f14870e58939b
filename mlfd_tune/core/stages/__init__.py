"""One file per stage: its spec (frozen, hashable) and what it computes.

``dataset -> teacher -> features -> joint_teacher -> targets -> student -> evaluation``; a
``baseline`` is a student without targets.
"""

from mlfd_tune.core.stages.dataset import DatasetStage
from mlfd_tune.core.stages.evaluation import EvaluationStage
from mlfd_tune.core.stages.features import FeaturesStage
from mlfd_tune.core.stages.joint_teacher import JointTeacherStage
from mlfd_tune.core.stages.student import DistillationSpec, StudentStage, TargetsView
from mlfd_tune.core.stages.targets import TargetsStage
from mlfd_tune.core.stages.teacher import TeacherStage
from mlfd_tune.core.stages.training_stage import TrainingStage

__all__ = [
    "DatasetStage",
    "DistillationSpec",
    "EvaluationStage",
    "FeaturesStage",
    "JointTeacherStage",
    "StudentStage",
    "TargetsStage",
    "TargetsView",
    "TeacherStage",
    "TrainingStage",
]
