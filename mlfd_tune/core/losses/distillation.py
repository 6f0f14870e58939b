"""Eq. 3 of the MLFD paper, each term logged apart, and the variants of its terms."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import nullcontext

import torch
from torch import Tensor
from torch.nn import functional as F

from mlfd_tune.core.losses.features import FEATURE_LOSSES, FeatureLoss
from mlfd_tune.core.losses.logits import LogitLoss, choose_logit_loss, divergence, standardised
from mlfd_tune.core.losses.precision import full_precision
from mlfd_tune.core.losses.terms import LossTerms, WeightedTerm, sum_up

__all__ = ["distillation_loss"]


def distillation_loss(
    logits: Tensor,
    labels: Tensor | None,
    target_logits: Tensor | None,
    features: Mapping[str, Tensor],
    target_features: Mapping[str, Tensor],
    *,
    alpha: float,
    beta: Mapping[str, float],
    temperature: float,
    ce_weight: float = 1.0,
    label_smoothing: float = 0.0,
    logit_loss: LogitLoss = "soft_ce",
    standardise_logits: bool = False,
    feature_loss: str | FeatureLoss = "mse",
) -> LossTerms:
    """Return the loss of a student under its joint teacher (MLFD, Eq. 3).

    ``ce_weight * CE(y, s) + alpha * T^2 * CE(softmax(t/T), softmax(s/T)) + sum_c beta_c * MSE_c``
    as it stands in the paper, by default. `ce_weight` is 1 in the paper and 0.2 in the official
    code. A term of weight 0 is logged but costs no backward pass.

    Logged are ``loss``; ``loss_ce``; ``loss_kd``, the soft term that was chosen; ``loss_kl``, the
    soft term less the teacher's entropy; and ``loss_level/<level>``.

    Computed in float32, or in float64 where the student is.

    Args:
        logits: The student's, ``(N, K)``.
        labels: Class indices ``(N,)``; None when there are none and `ce_weight` is 0. Then there is
            no ``loss_ce``.
        target_logits: The joint teacher's, ``(N, K)``; None when there are none and `alpha` is 0.
        features: The student's features at each level in `beta`, in a shape that the feature loss
            can compare with the target's.
        target_features: The joint teacher's features at each level in `beta`.
        alpha: Weight of the soft term.
        beta: Weight of each level's feature term.
        temperature: T of the soft term.
        ce_weight: Weight of the cross-entropy with the labels.
        label_smoothing: Of the cross-entropy with the labels.
        logit_loss: The soft term: ``soft_ce``, or ``kl`` with the same gradient.
        standardise_logits: Whether the soft term compares z-scores of the logits
            (`mlfd_tune.core.losses.logits.standardised`).
        feature_loss: The feature term at every level: a name in `FEATURE_LOSSES`, or a loss.

    Raises:
        UserError: When a loss is unknown.
        ValueError: When labels or targets are missing, or student and target cannot be compared.
    """
    compare_logits = choose_logit_loss(logit_loss)
    compare_features = _as_feature_loss(feature_loss)
    logits = full_precision(logits)
    terms: list[WeightedTerm] = []
    logged: dict[str, Tensor] = {}
    if labels is not None:
        with _gradient_if(ce_weight):
            ce = F.cross_entropy(logits, labels, label_smoothing=label_smoothing)
        terms.append((ce_weight, "loss_ce", ce))
    elif ce_weight:
        raise ValueError(f"ce_weight is {ce_weight}, but there are no labels")
    if target_logits is not None:
        targets = _targets_like(logits, target_logits)
        with _gradient_if(alpha):
            if standardise_logits:
                logits, targets = standardised(logits), standardised(targets)
            terms.append((alpha, "loss_kd", compare_logits(logits, targets, temperature)))
        with torch.no_grad():
            logged["loss_kl"] = divergence(logits, targets, temperature)
    elif alpha:
        raise ValueError(f"alpha is {alpha}, but there are no target logits")
    for level, weight in beta.items():
        if level not in features or level not in target_features:
            raise ValueError(f"beta has level {level!r}, which features or targets have not")
        student, target = features[level], target_features[level]
        mismatch = compare_features.mismatch(student.shape, target.shape)
        if mismatch:
            raise ValueError(f"{level}: {mismatch}")
        with _gradient_if(weight):
            terms.append((weight, f"loss_level/{level}", compare_features(student, target)))
    return sum_up(terms, logged)


def _as_feature_loss(chosen: str | FeatureLoss) -> FeatureLoss:
    return chosen if isinstance(chosen, FeatureLoss) else FEATURE_LOSSES.require(chosen)()


def _gradient_if(weight: float) -> torch.no_grad | nullcontext[None]:
    return nullcontext() if weight else torch.no_grad()


def _targets_like(logits: Tensor, targets: Tensor) -> Tensor:
    if logits.shape != targets.shape:
        raise ValueError(
            f"logits: the target has shape {tuple(targets.shape)}, "
            f"the student {tuple(logits.shape)}"
        )
    return targets.detach().to(dtype=logits.dtype)
