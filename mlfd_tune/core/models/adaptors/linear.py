"""`linear`: one linear map of the channels."""

from __future__ import annotations

from torch import Tensor, nn

from mlfd_tune.core.models.adaptors.base import Adaptor, register
from mlfd_tune.core.models.norms import NormKind

__all__ = ["LinearAdaptor"]


@register("linear")
class LinearAdaptor(Adaptor):
    """A linear layer, or on maps the 1x1 convolution that is the same thing; both with bias."""

    def __init__(
        self, in_channels: int, out_channels: int, *, spatial: bool, norm: NormKind = "batch"
    ) -> None:
        super().__init__(in_channels, out_channels, spatial=spatial, norm=norm)
        self.project: nn.Module = (
            nn.Conv2d(in_channels, out_channels, kernel_size=1)
            if spatial
            else nn.Linear(in_channels, out_channels)
        )

    def forward(self, features: Tensor) -> Tensor:
        """Map ``(N, in_channels, ...)`` to ``(N, out_channels, ...)``."""
        projected: Tensor = self.project(features)
        return projected
