"""`mse`, `normalised_mse`, `smooth_l1`: one element of the student against one of the target."""

from __future__ import annotations

import math

from torch import Tensor
from torch.nn import functional as F

from mlfd_tune.core.losses.directions import unit
from mlfd_tune.core.losses.features.base import FEATURE_LOSSES, FeatureLoss

__all__ = ["MeanSquaredError", "NormalisedMeanSquaredError", "SmoothL1"]


@FEATURE_LOSSES.register("mse")
class MeanSquaredError(FeatureLoss):
    """The mean over all elements of the squared difference (MLFD, Eq. 3)."""

    compares = "elements"

    def compute(self, student: Tensor, target: Tensor) -> Tensor:
        """Return the loss of ``(N, ...)`` against a target of the same shape."""
        return F.mse_loss(student, target)


@FEATURE_LOSSES.register("normalised_mse")
class NormalisedMeanSquaredError(FeatureLoss):
    """The mean squared error after each sample of both is scaled to a mean square of 1.

    That is unit L2 norm times the root of the number of elements. So the loss depends on neither
    scale, and is 2 - 2 cos of the flattened samples: BYOL's loss (Grill et al., "Bootstrap Your Own
    Latent", NeurIPS 2020, Eq. 2).
    """

    compares = "elements"

    def compute(self, student: Tensor, target: Tensor) -> Tensor:
        """Return the loss of ``(N, ...)`` against a target of the same shape."""
        return F.mse_loss(_mean_square_one(student), _mean_square_one(target))


@FEATURE_LOSSES.register("smooth_l1")
class SmoothL1(FeatureLoss):
    """The mean over all elements of half the square up to 1, and linear from there on.

    Girshick, "Fast R-CNN", ICCV 2015, Eq. 3; the second half of UNIC's loss (ECCV 2024), there with
    the same threshold 1.
    """

    compares = "elements"

    def compute(self, student: Tensor, target: Tensor) -> Tensor:
        """Return the loss of ``(N, ...)`` against a target of the same shape."""
        return F.smooth_l1_loss(student, target, beta=1.0)


def _mean_square_one(features: Tensor) -> Tensor:
    flat = features.flatten(1)
    return unit(flat, dim=1) * math.sqrt(flat.shape[1])
