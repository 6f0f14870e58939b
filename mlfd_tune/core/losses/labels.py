"""The plain cross-entropy with the labels: the loss of teachers and baselines."""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional as F

from mlfd_tune.core.losses.precision import full_precision
from mlfd_tune.core.losses.terms import LossTerms, sum_up

__all__ = ["cross_entropy_terms"]


def cross_entropy_terms(logits: Tensor, labels: Tensor, label_smoothing: float = 0.0) -> LossTerms:
    """Return the cross-entropy with the labels alone: the loss of teachers and baselines.

    Args:
        logits: ``(N, K)``.
        labels: Class indices ``(N,)``.
        label_smoothing: Share of each label spread over all classes.
    """
    ce = F.cross_entropy(full_precision(logits), labels, label_smoothing=label_smoothing)
    return sum_up([(1.0, "loss_ce", ce)], {})
