"""Models: backbones and their levels, adaptors, and the joint teacher.

Everything that may be imported is listed here. `levels` says what a level is; `backbones` takes
them from timm models; `adaptors` has one file per kind; `joint_teacher` fuses the teachers.
"""

from __future__ import annotations

from mlfd_tune.core.models.adaptors import (
    ADAPTORS,
    ALIGNMENTS,
    Adaptor,
    Alignment,
    adaptor_kinds,
    build_adaptor,
    check_adaptor,
)
from mlfd_tune.core.models.backbones import Backbone, level_shapes, require_levels
from mlfd_tune.core.models.checkpoints import CheckpointReport, load_checkpoint
from mlfd_tune.core.models.errors import ModelChoiceError
from mlfd_tune.core.models.joint_shapes import FusionSize, joint_out_shapes
from mlfd_tune.core.models.joint_teacher import JointTeacher
from mlfd_tune.core.models.levels import (
    FUSION_DEPTHS,
    LEVELS,
    finest,
    fusion_depth,
    parse_levels,
)
from mlfd_tune.core.models.norms import NormKind
from mlfd_tune.core.models.student_adaptors import Compares, StudentAdaptors
from mlfd_tune.core.models.timm_models import check_arch

__all__ = [
    "ADAPTORS",
    "ALIGNMENTS",
    "FUSION_DEPTHS",
    "LEVELS",
    "Adaptor",
    "Alignment",
    "Backbone",
    "CheckpointReport",
    "Compares",
    "FusionSize",
    "JointTeacher",
    "ModelChoiceError",
    "NormKind",
    "StudentAdaptors",
    "adaptor_kinds",
    "build_adaptor",
    "check_adaptor",
    "check_arch",
    "finest",
    "fusion_depth",
    "joint_out_shapes",
    "level_shapes",
    "load_checkpoint",
    "parse_levels",
    "require_levels",
]
