"""`identity`: the features as they are."""

from __future__ import annotations

from torch import Tensor

from mlfd_tune.core.models.adaptors.base import Adaptor, register

__all__ = ["IdentityAdaptor"]


@register("identity")
class IdentityAdaptor(Adaptor):
    """No change of channels: the paper's plain concatenation of embeddings (section 4.5)."""

    keeps_channels = True
    takes_residual = False

    def forward(self, features: Tensor) -> Tensor:
        """Return `features`."""
        return features
