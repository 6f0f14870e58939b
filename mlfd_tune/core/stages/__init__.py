"""One file per stage: its spec (frozen, hashable) and what it computes.

``dataset -> teacher -> features -> joint_teacher -> targets -> student -> evaluation`` is MLFD.
Other methods leave some out: ``kd`` takes targets from one teacher, ``unic`` learns from features,
and a ``baseline`` from labels alone.
"""

from mlfd_tune.core.stages.dataset import DatasetStage
from mlfd_tune.core.stages.distillation import (
    DistillationSpec,
    DistilledSpec,
    DistilledStudentStage,
)
from mlfd_tune.core.stages.evaluation import EvaluationStage
from mlfd_tune.core.stages.features import FeaturesStage
from mlfd_tune.core.stages.fusion import FusionSpec, JointTeacherSpec
from mlfd_tune.core.stages.joint_reader import JointReader
from mlfd_tune.core.stages.joint_reading import JointReadingStage
from mlfd_tune.core.stages.joint_teacher import JointTeacherStage
from mlfd_tune.core.stages.loaded_teacher import LoadedTeacherStage
from mlfd_tune.core.stages.multi_dataset import MultiDatasetSpec, MultiDatasetStage
from mlfd_tune.core.stages.readers import BackboneReader, Reader, Reading, teacher_reader
from mlfd_tune.core.stages.representation import RepresentationStage
from mlfd_tune.core.stages.student import BaselineStage, StudentStage, StudentTask
from mlfd_tune.core.stages.targets import TargetsStage
from mlfd_tune.core.stages.teacher import Teacher, TeacherStage
from mlfd_tune.core.stages.teacher_targets import TeacherTargetsStage
from mlfd_tune.core.stages.training_stage import TrainingStage
from mlfd_tune.core.stages.trial_stage import StudentSpec, TrialStage
from mlfd_tune.core.stages.unic import UnicSpec, UnicStage, UnicStudentSpec

__all__ = [
    "BackboneReader",
    "BaselineStage",
    "DatasetStage",
    "DistillationSpec",
    "DistilledSpec",
    "DistilledStudentStage",
    "EvaluationStage",
    "FeaturesStage",
    "FusionSpec",
    "JointReader",
    "JointReadingStage",
    "JointTeacherSpec",
    "JointTeacherStage",
    "LoadedTeacherStage",
    "MultiDatasetSpec",
    "MultiDatasetStage",
    "Reader",
    "Reading",
    "RepresentationStage",
    "StudentSpec",
    "StudentStage",
    "StudentTask",
    "TargetsStage",
    "Teacher",
    "TeacherStage",
    "TeacherTargetsStage",
    "TrainingStage",
    "TrialStage",
    "UnicSpec",
    "UnicStage",
    "UnicStudentSpec",
    "teacher_reader",
]
