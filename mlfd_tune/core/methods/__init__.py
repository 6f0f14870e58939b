"""Methods: how a student learns. Each has a class that says which stages it stands on.

One file a family. A new method is a subclass of `Method` in a new file, made known by
`@METHODS.register("its name")` and imported here; other packages bring theirs by an entry point.
"""

from mlfd_tune.core.methods.base import METHODS, Method, Role
from mlfd_tune.core.methods.joint import Mlfd, OwnTeacher
from mlfd_tune.core.methods.labels import JointHead, LabelsAlone, MultiHead
from mlfd_tune.core.methods.single_teacher import FitNet, KnowledgeDistillation, SelfDistillation
from mlfd_tune.core.methods.unic import Unic

__all__ = [
    "METHODS",
    "FitNet",
    "JointHead",
    "KnowledgeDistillation",
    "LabelsAlone",
    "Method",
    "Mlfd",
    "MultiHead",
    "OwnTeacher",
    "Role",
    "SelfDistillation",
    "Unic",
]
