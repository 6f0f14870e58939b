"""`attention`: every position looks at every other one."""

from __future__ import annotations

from mlfd_tune.core.models.adaptors.base import register
from mlfd_tune.core.models.adaptors.tokens import SelfAttention, TokenAdaptor
from mlfd_tune.core.models.norms import NormKind

__all__ = ["AttentionAdaptor"]


@register("attention")
class AttentionAdaptor(TokenAdaptor):
    """A norm, a linear map of the channels, then multi-head self-attention (section 4.5)."""

    def __init__(
        self, in_channels: int, out_channels: int, *, spatial: bool, norm: NormKind = "batch"
    ) -> None:
        super().__init__(in_channels, out_channels, spatial=spatial, norm=norm)
        self.mix = SelfAttention(self.token_channels)
