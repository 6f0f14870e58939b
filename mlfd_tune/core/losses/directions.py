"""Directions of vectors, with a value and a gradient also where a vector is zero."""

from __future__ import annotations

import torch
from torch import Tensor

__all__ = ["cosine_similarity", "unit"]

_SHORTEST = 1e-12


def unit(x: Tensor, dim: int) -> Tensor:
    """Return `x` scaled to L2 norm 1 along `dim`.

    A zero vector has no direction: it stays zero, and its gradient is zero rather than NaN.
    """
    squares = x.square().sum(dim=dim, keepdim=True)
    has_direction = squares > _SHORTEST**2
    scale = torch.where(has_direction, squares, 1.0).rsqrt()
    return torch.where(has_direction, x * scale, 0.0)


def cosine_similarity(student: Tensor, target: Tensor, dim: int) -> Tensor:
    """Return the cosine between two tensors of one shape along `dim`; 0 where one of them is 0."""
    return (unit(student, dim) * unit(target, dim)).sum(dim=dim)
