"""Features as tokens: what the adaptors that attend are made of."""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional as F

from mlfd_tune.core.models.adaptors.base import Adaptor
from mlfd_tune.core.models.adaptors.pointwise import PointwiseAdaptor
from mlfd_tune.core.models.norms import NormKind

__all__ = ["SelfAttention", "TokenAdaptor", "parts"]

_MOST_PARTS = 8
_LEAST_CHANNELS = 8


def parts(channels: int) -> int:
    """Return into how many equal parts `channels` are split: at most 8, of at least 8 channels."""
    return max(
        count
        for count in range(1, _MOST_PARTS + 1)
        if channels % count == 0 and (count == 1 or channels // count >= _LEAST_CHANNELS)
    )


class TokenAdaptor(Adaptor):
    """A norm and a linear map to the channels wanted, then `mix` on the result as tokens.

    Each position of a map is a token. A vector is split into up to 8 tokens of equal width, at
    least 8 channels each; the bias of the linear map tells them apart. Where its width has no such
    divisor, as a prime has not, the vector is one token, which attends to itself alone.

    A map's tokens carry no code of their position, so that one set of weights fits every size.

    Subclasses set `mix`, a module of tokens ``(N, T, token_channels)``.
    """

    mix: nn.Module

    def __init__(
        self, in_channels: int, out_channels: int, *, spatial: bool, norm: NormKind = "batch"
    ) -> None:
        super().__init__(in_channels, out_channels, spatial=spatial, norm=norm)
        self.embed = PointwiseAdaptor(in_channels, out_channels, spatial=spatial, norm=norm)
        self.token_channels = out_channels if spatial else out_channels // parts(out_channels)

    def forward(self, features: Tensor) -> Tensor:
        """Map ``(N, in_channels, ...)`` to ``(N, out_channels, ...)``."""
        embedded = self.embed(features)
        if embedded.dim() == 2:
            tokens: Tensor = self.mix(embedded.unflatten(1, (-1, self.token_channels)))
            return tokens.flatten(1)
        tokens = self.mix(embedded.flatten(2).transpose(1, 2))
        return tokens.transpose(1, 2).reshape(embedded.shape)


class SelfAttention(nn.Module):
    """Multi-head self-attention (Vaswani et al., 2017, section 3.2): each token looks at all.

    Args:
        channels: The width of a token, which `parts` splits into heads.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.heads = parts(channels)
        self.query_key_value = nn.Linear(channels, 3 * channels)
        self.project = nn.Linear(channels, channels)

    def forward(self, tokens: Tensor) -> Tensor:
        """Map ``(N, T, C)`` to the same shape."""
        split = self.query_key_value(tokens).unflatten(2, (3, self.heads, -1))
        query, key, value = split.permute(2, 0, 3, 1, 4)  # each (N, heads, T, C / heads)
        attended = F.scaled_dot_product_attention(query, key, value)
        projected: Tensor = self.project(attended.transpose(1, 2).flatten(2))
        return projected
