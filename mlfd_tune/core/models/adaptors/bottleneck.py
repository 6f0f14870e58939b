"""`bottleneck`: few channels, a 3x3 convolution there, then the channels wanted."""

from __future__ import annotations

from torch import Tensor, nn

from mlfd_tune.core.models.adaptors.base import Adaptor, register
from mlfd_tune.core.models.adaptors.linear import map_channels
from mlfd_tune.core.models.norms import NormKind, make_norm

__all__ = ["BottleneckAdaptor"]

_LEAST_CHANNELS = 16


@register("bottleneck")
class BottleneckAdaptor(Adaptor):
    """1x1 convolution to a quarter of the channels, 3x3 convolution, 1x1 convolution to all.

    The bottleneck of He et al. (2016), Fig. 5, with norm and GELU after the first two and none
    after the last: what follows an adaptor has its own. On vectors the convolutions are linear
    layers, as a 3x3 convolution is on a 1x1 map.

    The narrow part has no less than 16 channels where as many are wanted, so that a norm over the
    channels of one position has something to norm.
    """

    def __init__(
        self, in_channels: int, out_channels: int, *, spatial: bool, norm: NormKind = "batch"
    ) -> None:
        super().__init__(in_channels, out_channels, spatial=spatial, norm=norm)
        narrow = max(out_channels // 4, min(out_channels, _LEAST_CHANNELS))
        self.reduce = map_channels(in_channels, narrow, spatial=spatial, bias=False)
        self.norm1 = make_norm(norm, narrow, spatial=spatial)
        self.middle: nn.Module = (
            nn.Conv2d(narrow, narrow, kernel_size=3, padding=1, bias=False)
            if spatial
            else nn.Linear(narrow, narrow, bias=False)
        )
        self.norm2 = make_norm(norm, narrow, spatial=spatial)
        self.expand = map_channels(narrow, out_channels, spatial=spatial)
        self.activation = nn.GELU()

    def forward(self, features: Tensor) -> Tensor:
        """Map ``(N, in_channels, ...)`` to ``(N, out_channels, ...)``."""
        x = self.activation(self.norm1(self.reduce(features)))
        x = self.activation(self.norm2(self.middle(x)))
        expanded: Tensor = self.expand(x)
        return expanded
