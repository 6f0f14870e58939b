"""The settings of the method itself: datasets, lineup, fusion, distillation, student training.

These are the keys that a search space or an ablation may vary, by their dotted names.
`PipelineSettings` holds all of them; its sections have a file each.
"""

from mlfd_tune.core.settings.distillation import DistillationSettings
from mlfd_tune.core.settings.joint_teacher import JointTeacherSettings
from mlfd_tune.core.settings.networks import StudentSettings, TeacherSettings
from mlfd_tune.core.settings.other_methods import MultiDatasetSettings, UnicSettings
from mlfd_tune.core.settings.pipeline import PipelineSettings, deep_merge

__all__ = [
    "DistillationSettings",
    "JointTeacherSettings",
    "MultiDatasetSettings",
    "PipelineSettings",
    "StudentSettings",
    "TeacherSettings",
    "UnicSettings",
    "deep_merge",
]
