"""The skip around an adaptor."""

from __future__ import annotations

from torch import Tensor, nn

from mlfd_tune.core.models.adaptors.linear import map_channels

__all__ = ["Residual"]


class Residual(nn.Module):
    """Adds what goes in to what comes out: the residual versions of section 4.5.

    Where the channels differ, the skip is a linear map of them without bias, as in He et al.
    (2016), Eq. 2.

    Args:
        block: The adaptor, which keeps height and width.
        in_channels: Channels it takes.
        out_channels: Channels it gives.
        spatial: Whether it is for maps ``(N, C, H, W)`` rather than vectors ``(N, C)``.
    """

    def __init__(
        self, block: nn.Module, in_channels: int, out_channels: int, *, spatial: bool
    ) -> None:
        super().__init__()
        self.block = block
        self.skip = (
            nn.Identity()
            if in_channels == out_channels
            else map_channels(in_channels, out_channels, spatial=spatial, bias=False)
        )

    def forward(self, features: Tensor) -> Tensor:
        """Map ``(N, in_channels, ...)`` to ``(N, out_channels, ...)``."""
        added: Tensor = self.block(features) + self.skip(features)
        return added
