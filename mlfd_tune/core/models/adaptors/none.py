"""`none`: the features as they are."""

from __future__ import annotations

from torch import Tensor

from mlfd_tune.core.models.adaptors.base import Adaptor, register

__all__ = ["NoAdaptor"]


@register("none")
class NoAdaptor(Adaptor):
    """No change of channels: the paper's plain concatenation of embeddings (section 4.5)."""

    keeps_channels = True

    def forward(self, features: Tensor) -> Tensor:
        """Return `features`."""
        return features
