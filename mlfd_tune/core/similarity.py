"""How alike two networks see the same images: linear centred kernel alignment (CKA).

Kornblith et al., "Similarity of Neural Network Representations Revisited", ICML 2019, section 3,
with the unbiased estimate of HSIC (Song et al., "Feature Selection via Dependence Maximization",
JMLR 2012, Eq. 5), as in Nguyen, Raghu and Kornblith, ICLR 2021, section 2.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

__all__ = ["MIN_SAMPLES", "linear_cka"]

MIN_SAMPLES = 4
"""The unbiased estimate of HSIC divides by N (N - 3)."""

_NOTHING = 1e-12  # relative to the features' own size; below it there is rounding only


def linear_cka(x: Tensor, y: Tensor) -> float:
    """Return the linear CKA of two sets of features of the same images.

    The estimate is the unbiased one. The plain one grows with the channels by the images, whatever
    the features: unrelated ones of 512 channels look alike on a few hundred images. Levels differ
    in their channels, so it would rank levels by their width.

    1 for features that an orthogonal map, a common scale and a shift bring to each other; about 0
    for unrelated ones, where the estimate may fall a little below. Memory is (C1, C2), not (N, N).

    Args:
        x: ``(N, C1)``.
        y: ``(N, C2)``.

    Returns:
        In [-1, 1]; 0 where one side does not vary, or in one image only.

    Raises:
        ValueError: The features are not two-dimensional, of different images, or of fewer than
            `MIN_SAMPLES`.
    """
    if x.ndim != 2 or y.ndim != 2 or len(x) != len(y):
        raise ValueError(
            f"features must be (N, C1) and (N, C2), not {tuple(x.shape)} and {tuple(y.shape)}"
        )
    if len(x) < MIN_SAMPLES:
        raise ValueError(f"CKA of {len(x)} images (allowed: {MIN_SAMPLES} or more)")
    a, b = _to_unit_size(x), _to_unit_size(y)
    own = (_hsic(a, a), _hsic(b, b))
    if min(own) <= _NOTHING:
        return 0.0
    return min(max(_hsic(a, b) / math.sqrt(own[0] * own[1]), -1.0), 1.0)


def _to_unit_size(features: Tensor) -> Tensor:
    """Return features centred and of norm sqrt(N), which changes no CKA; zeros if constant."""
    values = features.double()
    centred = values - values.mean(dim=0)
    size = centred.norm()
    if size <= _NOTHING * values.norm():
        return torch.zeros_like(centred)
    scaled: Tensor = centred * (math.sqrt(len(values)) / size)
    return scaled


def _hsic(x: Tensor, y: Tensor) -> float:
    """Return HSIC_1 of the kernels K = x xᵀ and L = y yᵀ, whose diagonals are taken as zero.

    ``[tr(KL) + 1ᵀK1 1ᵀL1 / ((N-1)(N-2)) - 2 1ᵀKL1 / (N-2)] / (N (N-3))``, each term from
    (C1, C2), (C,) and (N,) products alone.
    """
    n = len(x)
    diagonal_k, diagonal_l = x.square().sum(dim=1), y.square().sum(dim=1)
    rows_k = x @ x.sum(dim=0) - diagonal_k
    rows_l = y @ y.sum(dim=0) - diagonal_l
    trace = (x.T @ y).square().sum() - diagonal_k @ diagonal_l
    total = rows_k.sum() * rows_l.sum() / ((n - 1) * (n - 2))
    return float(trace + total - 2 * (rows_k @ rows_l) / (n - 2)) / (n * (n - 3))
