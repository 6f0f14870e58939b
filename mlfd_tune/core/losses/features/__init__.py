"""Feature losses: how a student's features at a level are compared with the target's.

One file per family. A new kind is a subclass of `FeatureLoss` in a new file, made known by
`@FEATURE_LOSSES.register("its name")` and imported here; another package names its own by an entry
point of the group ``mlfd_tune.losses``.
"""

from __future__ import annotations

from mlfd_tune.core.losses.features.attention import AttentionMap
from mlfd_tune.core.losses.features.base import FEATURE_LOSSES, Compares, FeatureLoss
from mlfd_tune.core.losses.features.cka import CKA
from mlfd_tune.core.losses.features.cosine import Cosine
from mlfd_tune.core.losses.features.elementwise import (
    MeanSquaredError,
    NormalisedMeanSquaredError,
    SmoothL1,
)
from mlfd_tune.core.losses.features.relational import (
    RelationalAngle,
    RelationalDistance,
    RelationalDistanceAngle,
)

__all__ = [
    "CKA",
    "FEATURE_LOSSES",
    "AttentionMap",
    "Compares",
    "Cosine",
    "FeatureLoss",
    "MeanSquaredError",
    "NormalisedMeanSquaredError",
    "RelationalAngle",
    "RelationalDistance",
    "RelationalDistanceAngle",
    "SmoothL1",
]
