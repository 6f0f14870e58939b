"""Losses: Eq. 3 of MLFD and its variants, UNIC's, and how their weights change.

Everything that may be imported is listed here. `distillation` puts the terms together; `logits`
and `features` hold the kinds of its soft and its feature term, `features` one file per family;
`schedules` changes a weight over the epochs; `unic` and `teacher_dropping` are for students with
several teachers. A loss imports no model and no data.
"""

from __future__ import annotations

from mlfd_tune.core.losses.distillation import distillation_loss
from mlfd_tune.core.losses.features import FEATURE_LOSSES, Compares, FeatureLoss
from mlfd_tune.core.losses.labels import cross_entropy_terms
from mlfd_tune.core.losses.logits import LogitLoss
from mlfd_tune.core.losses.schedules import WeightSchedule
from mlfd_tune.core.losses.teacher_dropping import DroppingPolicy, dropped_loss, teacher_weights
from mlfd_tune.core.losses.terms import LossTerms
from mlfd_tune.core.losses.unic import unic_feature_loss
from mlfd_tune.core.target_norm import TargetNorm, target_norm_kinds

__all__ = [
    "FEATURE_LOSSES",
    "Compares",
    "DroppingPolicy",
    "FeatureLoss",
    "LogitLoss",
    "LossTerms",
    "TargetNorm",
    "WeightSchedule",
    "cross_entropy_terms",
    "distillation_loss",
    "dropped_loss",
    "target_norm_kinds",
    "teacher_weights",
    "unic_feature_loss",
]
