"""`conv3x3`: a norm, then a 3x3 convolution."""

from __future__ import annotations

from torch import Tensor, nn

from mlfd_tune.core.models.adaptors.base import Adaptor, register
from mlfd_tune.core.models.norms import NormKind, make_norm

__all__ = ["Conv3x3Adaptor"]


@register("conv3x3")
class Conv3x3Adaptor(Adaptor):
    """A norm, then a 3x3 convolution that keeps height and width; for maps only."""

    takes_vectors = False

    def __init__(
        self, in_channels: int, out_channels: int, *, spatial: bool, norm: NormKind = "batch"
    ) -> None:
        super().__init__(in_channels, out_channels, spatial=spatial, norm=norm)
        self.norm = make_norm(norm, in_channels, spatial=spatial)
        self.conv = nn.Conv2d(in_channels, out_channels, kernel_size=3, padding=1)

    def forward(self, features: Tensor) -> Tensor:
        """Map ``(N, in_channels, H, W)`` to ``(N, out_channels, H, W)``."""
        convolved: Tensor = self.conv(self.norm(features))
        return convolved
