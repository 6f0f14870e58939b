"""`pointwise`: a norm, then a 1x1 convolution."""

from __future__ import annotations

from torch import Tensor

from mlfd_tune.core.models.adaptors.base import register
from mlfd_tune.core.models.adaptors.linear import LinearAdaptor
from mlfd_tune.core.models.norms import NormKind, make_norm

__all__ = ["PointwiseAdaptor"]


@register("pointwise")
class PointwiseAdaptor(LinearAdaptor):
    """A norm, then a linear map of the channels: the paper's adaptor of maps (section 4.5).

    The norm brings teachers whose features differ in scale to one scale before they are mixed.
    """

    def __init__(
        self, in_channels: int, out_channels: int, *, spatial: bool, norm: NormKind = "batch"
    ) -> None:
        super().__init__(in_channels, out_channels, spatial=spatial, norm=norm)
        self.norm = make_norm(norm, in_channels, spatial=spatial)

    def forward(self, features: Tensor) -> Tensor:
        """Map ``(N, in_channels, ...)`` to ``(N, out_channels, ...)``."""
        return super().forward(self.norm(features))
