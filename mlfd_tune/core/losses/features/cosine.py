"""`cosine`: the angle between the student's features and the target's."""

from __future__ import annotations

from torch import Tensor

from mlfd_tune.core.losses.directions import cosine_similarity
from mlfd_tune.core.losses.features.base import FEATURE_LOSSES, FeatureLoss

__all__ = ["Cosine"]


@FEATURE_LOSSES.register("cosine")
class Cosine(FeatureLoss):
    """One less the cosine over the channels, the mean over images and positions.

    The first half of UNIC's loss (Sariyildiz et al., ECCV 2024), which takes it per patch token: a
    token is a position of a map. The cosine with a zero vector is 0.
    """

    compares = "elements"

    def compute(self, student: Tensor, target: Tensor) -> Tensor:
        """Return the loss of ``(N, C)`` or ``(N, C, H, W)`` against a target of the same shape."""
        return 1 - cosine_similarity(student, target, dim=1).mean()
