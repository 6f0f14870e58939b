"""`linear`: one linear map of the channels."""

from __future__ import annotations

from torch import Tensor, nn

from mlfd_tune.core.models.adaptors.base import Adaptor, register
from mlfd_tune.core.models.norms import NormKind

__all__ = ["LinearAdaptor", "map_channels"]


def map_channels(
    in_channels: int, out_channels: int, *, spatial: bool, bias: bool = True
) -> nn.Module:
    """Return a linear layer, or for maps the 1x1 convolution that is the same thing."""
    if spatial:
        return nn.Conv2d(in_channels, out_channels, kernel_size=1, bias=bias)
    return nn.Linear(in_channels, out_channels, bias=bias)


@register("linear")
class LinearAdaptor(Adaptor):
    """A linear map of the channels, with bias: the official code's adaptor of embeddings."""

    def __init__(
        self, in_channels: int, out_channels: int, *, spatial: bool, norm: NormKind = "batch"
    ) -> None:
        super().__init__(in_channels, out_channels, spatial=spatial, norm=norm)
        self.project = map_channels(in_channels, out_channels, spatial=spatial)

    def forward(self, features: Tensor) -> Tensor:
        """Map ``(N, in_channels, ...)`` to ``(N, out_channels, ...)``."""
        projected: Tensor = self.project(features)
        return projected
