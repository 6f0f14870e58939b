"""`rkd_distance`, `rkd_angle`, `rkd`: how the batch's samples lie to each other.

Park et al., "Relational Knowledge Distillation", CVPR 2019, section 3.2. Samples are flattened, so
a map may be compared with a vector, and only the numbers of images must agree. The paper sums over
tuples of different samples; here it is their mean, so that a beta means the same for every batch
size. The official code divides by N^2 and N^3 instead, which is the same but for the tuples in
which a sample stands twice.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint

from mlfd_tune.core.losses.features.base import FEATURE_LOSSES, FeatureLoss
from mlfd_tune.core.losses.features.samples import centred_samples

__all__ = ["RelationalAngle", "RelationalDistance", "RelationalDistanceAngle"]

_ROUNDINGS = 10


@FEATURE_LOSSES.register("rkd_distance")
class RelationalDistance(FeatureLoss):
    """The Huber loss between the distances of all pairs, each over the batch's mean distance.

    0 for a batch of 1 or 2, where that is always 1. Where all samples of a side are equal, its
    distances count as 0.
    """

    compares = "samples"

    def compute(self, student: Tensor, target: Tensor) -> Tensor:
        """Return the loss of ``(N, ...)`` against a target ``(N, ...)``."""
        pairs = _tuples(len(student), 2)
        student, target = _relative_distances(student, pairs), _relative_distances(target, pairs)
        return F.smooth_l1_loss(student, target, reduction="sum") / pairs


@FEATURE_LOSSES.register("rkd_angle")
class RelationalAngle(FeatureLoss):
    """The Huber loss between the cosines of the angles of all triplets of samples.

    0 for a batch of 1 or 2. The cosine at a vertex that equals one of the other two samples is 0.

    There are N^3 cosines: 262 thousand for 64 images, 453 million for 768. They are computed for a
    few vertices at a time, and once more in the backward pass, so that the memory does not grow
    beyond about fifteen times `entries` numbers (1 GB). The time still grows with N^3.

    Args:
        entries: Cosines computed at once, or those of one vertex (N^2) where that is more.
    """

    compares = "samples"

    def __init__(self, entries: int = 2**24) -> None:
        self.entries = entries

    def compute(self, student: Tensor, target: Tensor) -> Tensor:
        """Return the loss of ``(N, ...)`` against a target ``(N, ...)``."""
        count = len(student)
        student, target = _squared_distances(student), _squared_distances(target)
        at_once = max(self.entries // count**2, 1)
        total = student.new_zeros(())
        for first in range(0, count, at_once):
            part: Tensor = checkpoint(
                _angle_difference,
                student,
                target,
                slice(first, first + at_once),
                use_reentrant=False,
                preserve_rng_state=False,
            )
            total = total + part
        return total / _tuples(count, 3)


@FEATURE_LOSSES.register("rkd")
class RelationalDistanceAngle(FeatureLoss):
    """The distance loss and twice the angle loss: the paper's RKD-DA, with its 1 to 2."""

    compares = "samples"

    def __init__(self) -> None:
        self.distance = RelationalDistance()
        self.angle = RelationalAngle()

    def compute(self, student: Tensor, target: Tensor) -> Tensor:
        """Return the loss of ``(N, ...)`` against a target ``(N, ...)``."""
        return self.distance.compute(student, target) + 2 * self.angle.compute(student, target)


def _tuples(count: int, size: int) -> int:
    """Return the number of ordered tuples of different samples, but at least 1 to divide by."""
    return max(math.perm(count, size), 1)


def _squared_distances(features: Tensor) -> Tensor:
    """Return the squared distances of all pairs of samples, ``(N, N)``.

    From inner products, which need no (N, N, D) of memory but lose digits of small distances: what
    is no more than rounding is 0, as the distance of equal samples must be.
    """
    samples = centred_samples(features)
    products = samples @ samples.T
    norms = products.diagonal()
    sums = norms[:, None] + norms
    squares = sums - 2 * products
    rounding = _ROUNDINGS * torch.finfo(squares.dtype).eps
    return torch.where(squares > rounding * sums, squares, 0.0)


def _relative_distances(features: Tensor, pairs: int) -> Tensor:
    squares = _squared_distances(features)
    distances = torch.where(squares > 0, _root(squares), 0.0)
    mean = distances.sum() / pairs
    return distances / torch.where(mean > 0, mean, 1.0)


def _angle_difference(student: Tensor, target: Tensor, vertices: slice) -> Tensor:
    """Return the summed Huber loss of the cosines at some vertices, from squared distances."""
    return F.smooth_l1_loss(
        _cosines(student, vertices), _cosines(target, vertices), reduction="sum"
    )


def _cosines(squares: Tensor, vertices: slice) -> Tensor:
    """Return the cosines ``(V, N, N)`` of the angles at `vertices` between all pairs of samples.

    By the cosine rule. It is 0 where a leg has no length, and where both legs are the same one.
    """
    inverse = torch.where(squares > 0, 1 / _root(squares), 0.0)[vertices]
    legs = squares[vertices]
    products = (legs[:, :, None] + legs[:, None, :] - squares) / 2
    different = ~torch.eye(len(squares), dtype=torch.bool, device=squares.device)
    return products * inverse[:, :, None] * inverse[:, None, :] * different


def _root(squares: Tensor) -> Tensor:
    """Return the root where positive, else 1: the gradient of a root at 0 is infinite."""
    return torch.where(squares > 0, squares, 1.0).sqrt()
