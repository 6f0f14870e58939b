"""The soft term of Eq. 3: how the student's logits are compared with the joint teacher's."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

from torch import Tensor
from torch.nn import functional as F

from mlfd_tune.core.errors import UserError, allowed_values

__all__ = ["LogitLoss", "choose_logit_loss", "divergence", "soft_cross_entropy", "standardised"]

LogitLoss = Literal["soft_ce", "kl"]

_EPSILON = 1e-7


def soft_cross_entropy(logits: Tensor, targets: Tensor, temperature: float) -> Tensor:
    """Return ``T^2 * CE(softmax(t/T), softmax(s/T))``: the soft term of the official MLFD code.

    The factor T^2 keeps the gradient in proportion when T changes (Hinton et al., "Distilling the
    Knowledge in a Neural Network", 2015, section 2).

    Args:
        logits: The student's, ``(N, K)``.
        targets: The teacher's, ``(N, K)``.
        temperature: T.
    """
    probabilities = F.softmax(targets / temperature, dim=1)
    crossed = probabilities * F.log_softmax(logits / temperature, dim=1)
    return -crossed.sum(dim=1).mean() * temperature**2


def divergence(logits: Tensor, targets: Tensor, temperature: float) -> Tensor:
    """Return ``T^2 * KL(softmax(t/T) || softmax(s/T))``, which is 0 at best.

    It is `soft_cross_entropy` less the teacher's entropy, which no student can lower, so the
    gradient is the same.
    """
    log_target = F.log_softmax(targets / temperature, dim=1)
    log_student = F.log_softmax(logits / temperature, dim=1)
    difference = F.kl_div(log_student, log_target, reduction="batchmean", log_target=True)
    return difference * temperature**2


def standardised(logits: Tensor) -> Tensor:
    """Return `logits` ``(N, K)`` less their mean over the classes, over their standard deviation.

    So the student has to match the relations between the teacher's logits and not their size
    (Sun et al., "Logit Standardization in Knowledge Distillation", CVPR 2024, Algorithm 1). The
    standard deviation is the population's, as in the paper; its code divides by K - 1.
    """
    mean = logits.mean(dim=1, keepdim=True)
    std = logits.std(dim=1, correction=0, keepdim=True)
    return (logits - mean) / (std + _EPSILON)


def choose_logit_loss(name: str) -> Callable[[Tensor, Tensor, float], Tensor]:
    """Return the soft term called `name`.

    Raises:
        UserError: There is none, with the names there are.
    """
    if name not in _LOGIT_LOSSES:
        raise UserError(f"unknown logit_loss {name!r} {allowed_values(name, _LOGIT_LOSSES)}")
    return _LOGIT_LOSSES[name]


_LOGIT_LOSSES = {"soft_ce": soft_cross_entropy, "kl": divergence}
