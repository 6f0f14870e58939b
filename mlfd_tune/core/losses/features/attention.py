"""`attention_map`: where in the image the features are strong."""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional as F

from mlfd_tune.core.losses.directions import unit
from mlfd_tune.core.losses.features.base import FEATURE_LOSSES, FeatureLoss

__all__ = ["AttentionMap"]


@FEATURE_LOSSES.register("attention_map")
class AttentionMap(FeatureLoss):
    """The mean squared difference of normalised attention maps; for maps only.

    An attention map is the sum over the channels of the squares, flattened and scaled to L2 norm 1
    per image (Zagoruyko and Komodakis, "Paying More Attention to Attention", ICLR 2017, section
    3.1, p = 2). So neither the channels nor the scale of student and target need be alike.

    The reduction is that of the official code, the mean of the squares over images and positions.
    Eq. 2 of the paper has the norm of the difference. The mean is at most 2 / (H * W), so that its
    beta must be large: about 1000 in the paper.
    """

    compares = "positions"
    takes_vectors = False

    def compute(self, student: Tensor, target: Tensor) -> Tensor:
        """Return the loss of ``(N, C, H, W)`` against a target ``(N, D, H, W)``."""
        return F.mse_loss(_attention(student), _attention(target))


def _attention(maps: Tensor) -> Tensor:
    return unit(maps.square().sum(dim=1).flatten(1), dim=1)
