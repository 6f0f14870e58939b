"""A loss as the weighted sum of terms that are logged apart."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

__all__ = ["LossTerms", "WeightedTerm", "sum_up"]

WeightedTerm = tuple[float, str, Tensor]
"""Weight, name in the log, and value before the weight."""


@dataclass(frozen=True)
class LossTerms:
    """A loss to descend and the terms it is made of.

    Attributes:
        total: The weighted sum, a scalar with gradient.
        parts: Scalars without gradient, still on the device: ``loss`` is the total; ``loss_ce``,
            ``loss_kd``, ``loss_kl`` and ``loss_level/<level>`` are terms before their weights.
    """

    total: Tensor
    parts: dict[str, Tensor]


def sum_up(terms: Sequence[WeightedTerm], logged: Mapping[str, Tensor]) -> LossTerms:
    """Return the weighted sum of `terms`, with `logged` among the parts.

    Raises:
        ValueError: When every weight is 0, so that there is nothing to descend.
    """
    # Terms of weight 0 stay out of the sum, so that they cannot bring a NaN or a rounding into it.
    weighted = [weight * term for weight, _, term in terms if weight]
    if not weighted:
        raise ValueError("every weight of the loss is 0")
    total = torch.stack(weighted).sum()
    parts = {name: term.detach() for _, name, term in terms} | dict(logged)
    return LossTerms(total, {"loss": total.detach()} | parts)
