"""`depthwise_separable`: a 3x3 convolution of each channel, then a 1x1 convolution."""

from __future__ import annotations

from torch import Tensor, nn

from mlfd_tune.core.models.adaptors.base import Adaptor, register
from mlfd_tune.core.models.norms import NormKind, make_norm

__all__ = ["DepthwiseSeparableAdaptor"]


@register("depthwise_separable")
class DepthwiseSeparableAdaptor(Adaptor):
    """Depthwise 3x3 convolution, norm, GELU, 1x1 convolution; for maps only.

    It looks around as `conv3x3` does, with about a ninth of the weights (Howard et al., 2017:
    MobileNets, section 3.1; GELU as everywhere in the joint teacher).
    """

    takes_vectors = False

    def __init__(
        self, in_channels: int, out_channels: int, *, spatial: bool, norm: NormKind = "batch"
    ) -> None:
        super().__init__(in_channels, out_channels, spatial=spatial, norm=norm)
        self.depthwise = nn.Conv2d(
            in_channels, in_channels, kernel_size=3, padding=1, groups=in_channels, bias=False
        )
        self.norm = make_norm(norm, in_channels, spatial=spatial)
        self.activation = nn.GELU()
        self.pointwise = nn.Conv2d(in_channels, out_channels, kernel_size=1)

    def forward(self, features: Tensor) -> Tensor:
        """Map ``(N, in_channels, H, W)`` to ``(N, out_channels, H, W)``."""
        filtered = self.activation(self.norm(self.depthwise(features)))
        mixed: Tensor = self.pointwise(filtered)
        return mixed
