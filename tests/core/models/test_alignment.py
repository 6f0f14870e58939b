"""Alignment: maps of different height and width brought together."""

from __future__ import annotations

from itertools import product
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from mlfd_tune.core.errors import UserError
from mlfd_tune.core.models import ALIGNMENTS
from mlfd_tune.core.models.adaptors import make_alignment

SIDES = (1, 2, 3, 5, 8)
Array = np.ndarray[Any, np.dtype[np.float64]]


def maps(*shape: int) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(0)).double()


def align(kind: str, channels: int, before: tuple[int, int], after: tuple[int, int]) -> nn.Module:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return make_alignment(kind, channels, before, after).double()  # type: ignore[arg-type]


def averages(before: int, after: int) -> Array:
    """Each output is the mean of the inputs its share of the side touches."""
    matrix = np.zeros((after, before))
    for i in range(after):
        start, stop = i * before // after, -(-(i + 1) * before // after)
        matrix[i, start:stop] = 1 / (stop - start)
    return matrix


def tents(before: int, after: int) -> Array:
    """Each output is a mean weighted by a tent around its centre, widened on the way down."""
    scale = before / after
    centres = (np.arange(after) + 0.5) * scale
    distances = np.abs(np.arange(before) + 0.5 - centres[:, None])
    weights = np.maximum(0, 1 - distances / max(scale, 1))
    return weights / weights.sum(axis=1, keepdims=True)


def filtered(rows: Array, columns: Array, x: torch.Tensor) -> Array:
    return np.einsum("ih,jw,nchw->ncij", rows, columns, x.numpy())


def strided(x: Array, weight: Array, strides: tuple[int, int]) -> Array:
    padded = np.pad(x, ((0, 0), (0, 0), (1, 1), (1, 1)))
    rows, columns = (range(0, x.shape[2 + i], strides[i]) for i in (0, 1))
    out = np.empty((*x.shape[:2], len(rows), len(columns)))
    for (i, row), (j, column) in product(enumerate(rows), enumerate(columns)):
        window = padded[:, :, row : row + 3, column : column + 3]
        out[:, :, i, j] = np.einsum("nchw,chw->nc", window, weight[:, 0])
    return out


@pytest.mark.parametrize("before", SIDES)
def test_pool_averages_down_and_interpolates_up(before: int) -> None:
    for after in SIDES:
        side = averages if after < before else tents
        x = maps(2, 3, before, 4)
        expected = filtered(side(before, after), tents(4, 6), x)
        # One side down and the other up: first the averages, then the interpolation.
        np.testing.assert_allclose(align("pool", 3, (before, 4), (after, 6))(x), expected)


@pytest.mark.parametrize("before", SIDES)
def test_interpolate_weighs_by_a_tent_both_ways(before: int) -> None:
    for after in SIDES:
        x = maps(2, 3, before, 4)
        expected = filtered(tents(before, after), tents(4, 6), x)
        aligned = align("interpolate", 3, (before, 4), (after, 6))(x)
        np.testing.assert_allclose(aligned, expected, atol=1e-12)


@pytest.mark.parametrize(
    ("before", "after", "strides"),
    [
        ((8, 8), (2, 2), [(2, 2), (2, 2)]),
        ((7, 7), (2, 2), [(2, 2), (2, 2)]),
        ((8, 5), (2, 5), [(2, 1), (2, 1)]),
        ((8, 4), (1, 2), [(2, 2), (2, 1), (2, 1)]),
        ((8, 4), (3, 8), [(2, 1)]),  # 8 to 4, averaged to 3; 4 interpolated to 8
        ((3, 3), (2, 2), []),
        ((2, 2), (4, 4), []),
    ],
)
def test_strided_convolutions_halve_by_learned_weights_while_they_can(
    before: tuple[int, int], after: tuple[int, int], strides: list[tuple[int, int]]
) -> None:
    alignment = align("strided_conv", 3, before, after)
    weights = [weight.detach().numpy() for weight in alignment.parameters()]
    assert [weight.shape for weight in weights] == [(3, 1, 3, 3)] * len(strides)
    x = maps(2, 3, *before)
    expected = x.numpy()
    for weight, stride in zip(weights, strides, strict=True):
        expected = strided(expected, weight, stride)
    rest = align("pool", 3, (expected.shape[2], expected.shape[3]), after)
    expected = rest(torch.from_numpy(expected)).numpy()
    np.testing.assert_allclose(alignment(x).detach().numpy(), expected, atol=1e-12)


@pytest.mark.parametrize("kind", ALIGNMENTS)
def test_channels_never_see_each_other(kind: str) -> None:
    for before, after in [((8, 6), (2, 3)), ((2, 3), (5, 5)), ((7, 1), (2, 4))]:
        alignment, x = align(kind, 3, before, after), maps(1, 3, *before)
        changed = x.clone()
        changed[:, 1] += 1
        moved = (alignment(changed) - alignment(x)).abs().amax(dim=(0, 2, 3))
        assert [bool(change > 1e-6) for change in moved] == [False, True, False]


@pytest.mark.parametrize("kind", ALIGNMENTS)
def test_maps_in_half_precision_are_aligned_too(kind: str) -> None:
    aligned = align(kind, 3, (8, 6), (2, 9)).bfloat16()(maps(1, 3, 8, 6).bfloat16())
    assert aligned.dtype == torch.bfloat16


def test_an_alignment_that_does_not_exist_is_an_error() -> None:
    with pytest.raises(UserError, match=r"unknown alignment 'pol' \(allowed.*mean 'pool'"):
        align("pol", 3, (2, 2), (1, 1))
