"""Teacher dropping: which teachers an image learns from in one step (UNIC)."""

from __future__ import annotations

from typing import Literal, get_args

import torch
from torch import Tensor
from torch.nn import functional as F

from mlfd_tune.core.errors import UserError, allowed_values

__all__ = ["DroppingPolicy", "dropped_loss", "teacher_weights"]

DroppingPolicy = Literal["none", "loss_ranked", "uniform"]


def teacher_weights(
    losses: Tensor, policy: DroppingPolicy, rate: float, generator: torch.Generator
) -> Tensor:
    """Return the weight of each image's loss under each teacher, without gradient.

    * ``none``: every teacher is kept.
    * ``loss_ranked``: per image the teacher with the largest loss is kept, and each other one
      dropped with probability `rate`, so that no teacher the student already follows well takes
      over (Sariyildiz et al., "UNIC", ECCV 2024; the official code).
    * ``uniform``: each teacher is dropped with probability `rate`, whatever its loss. An image that
      would lose them all keeps one, drawn uniformly.

    What is kept has equal weights, which sum to 1 over the whole batch.

    Args:
        losses: ``(N, T)``, of N images under T teachers.
        policy: How teachers are dropped.
        rate: Probability of dropping, 0 to 1.
        generator: On the CPU, wherever the losses are, so that a seed means the same drops on
            every device. Every policy takes N * T draws from it.

    Returns:
        Weights ``(N, T)``, like `losses` in dtype and device.

    Raises:
        UserError: When policy or rate is not one of those allowed.
        ValueError: When `losses` is no matrix.
    """
    policies = get_args(DroppingPolicy)
    if policy not in policies:
        raise UserError(f"unknown teacher dropping {policy!r} {allowed_values(policy, policies)}")
    if not 0 <= rate <= 1:
        raise UserError(f"rate of teacher dropping: {rate} is not between 0 and 1")
    if losses.ndim != 2:
        raise ValueError(f"losses must be (images, teachers), not {tuple(losses.shape)}")
    losses = losses.detach()
    draws = torch.rand(losses.shape, generator=generator).to(losses.device)
    if policy == "none":
        kept = torch.ones_like(losses, dtype=torch.bool)
    else:
        # The largest of uniform draws is dropped only if all are, and is each teacher's with equal
        # probability: keeping it always is the uniform choice among teachers that were all dropped.
        kept = (draws >= rate) | _largest(losses if policy == "loss_ranked" else draws)
    weights = kept.to(losses.dtype)
    return weights / weights.sum()


def dropped_loss(losses: Tensor, weights: Tensor) -> Tensor:
    """Return the loss to descend: the sum of `losses` ``(N, T)`` by `weights` ``(N, T)``."""
    return (losses * weights).sum()


def _largest(values: Tensor) -> Tensor:
    """Return where each row's largest value is; the first of equal ones."""
    return F.one_hot(values.argmax(dim=1), values.shape[1]).bool()
