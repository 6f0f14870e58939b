"""Eq. 3 of the MLFD paper and the plain cross-entropy of the baselines, each term logged apart."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import nullcontext
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from mlfd_tune.core.target_norm import TargetNorm, target_norm_kinds

__all__ = [
    "LossTerms",
    "TargetNorm",
    "cross_entropy_terms",
    "distillation_loss",
    "target_norm_kinds",
]


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


def distillation_loss(
    logits: Tensor,
    labels: Tensor,
    target_logits: Tensor | None,
    features: Mapping[str, Tensor],
    target_features: Mapping[str, Tensor],
    *,
    alpha: float,
    beta: Mapping[str, float],
    temperature: float,
    ce_weight: float = 1.0,
    label_smoothing: float = 0.0,
) -> LossTerms:
    """Return the loss of a student under its joint teacher (MLFD, Eq. 3).

    ``ce_weight * CE(y, s) + alpha * T^2 * CE(softmax(t/T), softmax(s/T)) + sum_c beta_c * MSE_c``.
    The MSE is the mean over all elements. The factor T^2 keeps the gradient of the soft term in
    proportion when T changes. `ce_weight` is 1 in the paper and 0.2 in the official code. A term
    of weight 0 is logged but costs no backward pass.

    Computed in float32, or in float64 where the student is.

    Args:
        logits: The student's, ``(N, K)``.
        labels: Class indices ``(N,)``.
        target_logits: The joint teacher's, ``(N, K)``; None when there are none and `alpha` is 0.
        features: The student's features at each level in `beta`, in the target's shape.
        target_features: The joint teacher's features at each level in `beta`.
        alpha: Weight of the soft term.
        beta: Weight of each level's feature term.
        temperature: T of the soft term.
        ce_weight: Weight of the cross-entropy with the labels.
        label_smoothing: Of the cross-entropy with the labels.

    Raises:
        ValueError: When a target is missing or has not the student's shape.
    """
    logits = _full_precision(logits)
    ce = F.cross_entropy(logits, labels, label_smoothing=label_smoothing)
    terms = [(ce_weight, "loss_ce", ce)]
    parts: dict[str, Tensor] = {}
    if target_logits is not None:
        targets = _target_like(logits, target_logits, "logits")
        with _gradient_if(alpha):
            terms.append((alpha, "loss_kd", _soft_cross_entropy(logits, targets, temperature)))
        with torch.no_grad():
            parts["loss_kl"] = _divergence(logits, targets, temperature)
    elif alpha:
        raise ValueError(f"alpha is {alpha}, but there are no target logits")
    for level, weight in beta.items():
        if level not in features or level not in target_features:
            raise ValueError(f"beta has level {level!r}, which features or targets have not")
        student = _full_precision(features[level])
        target = _target_like(student, target_features[level], level)
        with _gradient_if(weight):
            terms.append((weight, f"loss_level/{level}", F.mse_loss(student, target)))
    return _sum_up(terms, parts)


def cross_entropy_terms(logits: Tensor, labels: Tensor, label_smoothing: float = 0.0) -> LossTerms:
    """Return the cross-entropy with the labels alone: the loss of teachers and baselines.

    Args:
        logits: ``(N, K)``.
        labels: Class indices ``(N,)``.
        label_smoothing: Share of each label spread over all classes.
    """
    ce = F.cross_entropy(_full_precision(logits), labels, label_smoothing=label_smoothing)
    return _sum_up([(1.0, "loss_ce", ce)], {})


def _soft_cross_entropy(logits: Tensor, targets: Tensor, temperature: float) -> Tensor:
    probabilities = F.softmax(targets / temperature, dim=1)
    crossed = probabilities * F.log_softmax(logits / temperature, dim=1)
    return -crossed.sum(dim=1).mean() * temperature**2


def _divergence(logits: Tensor, targets: Tensor, temperature: float) -> Tensor:
    """The soft term less the teacher's entropy, which no student can lower: 0 at best."""
    log_target = F.log_softmax(targets / temperature, dim=1)
    log_student = F.log_softmax(logits / temperature, dim=1)
    divergence = F.kl_div(log_student, log_target, reduction="batchmean", log_target=True)
    return divergence * temperature**2


def _sum_up(terms: list[tuple[float, str, Tensor]], parts: dict[str, Tensor]) -> LossTerms:
    # Terms of weight 0 stay out of the sum, so that they cannot bring a NaN or a rounding into it.
    weighted = [weight * term for weight, _, term in terms if weight]
    if not weighted:
        raise ValueError("every weight of the loss is 0")
    total = torch.stack(weighted).sum()
    parts = {name: term.detach() for _, name, term in terms} | parts
    return LossTerms(total, {"loss": total.detach()} | parts)


def _gradient_if(weight: float) -> torch.no_grad | nullcontext[None]:
    return nullcontext() if weight else torch.no_grad()


def _full_precision(x: Tensor) -> Tensor:
    return x if x.dtype == torch.float64 else x.float()


def _target_like(student: Tensor, target: Tensor, what: str) -> Tensor:
    if student.shape != target.shape:
        raise ValueError(
            f"{what}: the target has shape {tuple(target.shape)}, "
            f"the student {tuple(student.shape)}"
        )
    return target.detach().to(dtype=student.dtype)
