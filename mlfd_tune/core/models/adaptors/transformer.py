"""`transformer`: a linear map of the channels, then one block of a vision transformer."""

from __future__ import annotations

from torch import Tensor, nn

from mlfd_tune.core.models.adaptors.base import register
from mlfd_tune.core.models.adaptors.tokens import SelfAttention, TokenAdaptor
from mlfd_tune.core.models.norms import NormKind

__all__ = ["TransformerAdaptor", "TransformerBlock"]

_MLP_RATIO = 4


@register("transformer")
class TransformerAdaptor(TokenAdaptor):
    """A norm, a linear map of the channels, then a pre-norm transformer block."""

    def __init__(
        self, in_channels: int, out_channels: int, *, spatial: bool, norm: NormKind = "batch"
    ) -> None:
        super().__init__(in_channels, out_channels, spatial=spatial, norm=norm)
        self.mix = TransformerBlock(self.token_channels)


class TransformerBlock(nn.Module):
    """Self-attention and an MLP, a layer norm before and a skip around each.

    Dosovitskiy et al. (2021), Eq. 2 and 3. The norms are layer norms whatever the adaptor's norm.

    Args:
        channels: The width of a token; the MLP's hidden layer has four times as many.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(channels)
        self.attention = SelfAttention(channels)
        self.norm2 = nn.LayerNorm(channels)
        self.mlp = nn.Sequential(
            nn.Linear(channels, _MLP_RATIO * channels),
            nn.GELU(),
            nn.Linear(_MLP_RATIO * channels, channels),
        )

    def forward(self, tokens: Tensor) -> Tensor:
        """Map ``(N, T, C)`` to the same shape."""
        tokens = tokens + self.attention(self.norm1(tokens))
        mixed: Tensor = tokens + self.mlp(self.norm2(tokens))
        return mixed
