"""Linear CKA against the plain statement with N x N Gram matrices."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from mlfd_tune.core.similarity import linear_cka

Array = NDArray[np.float64]

SEEDS = st.integers(0, 10_000)


def draw(*shape: int, seed: int = 0) -> Array:
    return np.random.default_rng(seed).normal(1, 2, shape)


def cka(x: Array, y: Array) -> float:
    return linear_cka(torch.from_numpy(x), torch.from_numpy(y))


def hsic_of_gram_matrices(k: Array, l: Array) -> float:  # noqa: E741
    """Song et al. 2012, Eq. 5, as it is written."""
    m = len(k)
    k, l = k - np.diag(np.diag(k)), l - np.diag(np.diag(l))  # noqa: E741
    one = np.ones(m)
    trace = np.trace(k @ l)
    total = (one @ k @ one) * (one @ l @ one) / ((m - 1) * (m - 2))
    cross = 2 / (m - 2) * (one @ k @ l @ one)
    return float((trace + total - cross) / (m * (m - 3)))


def cka_of_gram_matrices(x: Array, y: Array) -> float:
    k, l = x @ x.T, y @ y.T  # noqa: E741
    own = hsic_of_gram_matrices(k, k) * hsic_of_gram_matrices(l, l)
    return hsic_of_gram_matrices(k, l) / float(np.sqrt(own))


@pytest.mark.parametrize(("n", "c1", "c2"), [(30, 5, 5), (30, 3, 60), (4, 6, 2), (200, 64, 16)])
def test_it_is_the_unbiased_estimate_by_gram_matrices(n: int, c1: int, c2: int) -> None:
    x = draw(n, c1)
    y = draw(n, c2, seed=1) + 0.3 * x[:, :1]
    assert cka(x, y) == pytest.approx(cka_of_gram_matrices(x, y), abs=1e-10)


@settings(max_examples=40, deadline=None)
@given(SEEDS, SEEDS, st.floats(1e-3, 1e3), st.floats(-100, 100))
def test_orthogonal_maps_a_common_scale_and_shifts_do_not_matter(
    seed: int, other: int, scale: float, shift: float
) -> None:
    x = draw(24, 6, seed=seed)
    y = x[:, :4] + draw(24, 4, seed=other)
    rotation = np.linalg.qr(draw(6, 6, seed=other + 1))[0]
    moved = scale * x @ rotation + shift
    assert cka(moved, y) == pytest.approx(cka(x, y), abs=1e-8)
    assert cka(moved, x) == pytest.approx(1, abs=1e-8)


@settings(max_examples=40, deadline=None)
@given(SEEDS, SEEDS, st.integers(4, 12), st.integers(1, 20))
def test_it_is_symmetric_and_within_bounds(seed: int, other: int, n: int, channels: int) -> None:
    x, y = draw(n, 3, seed=seed), draw(n, channels, seed=other)
    assert -1 <= cka(x, y) <= 1
    assert cka(x, y) == pytest.approx(cka(y, x), abs=1e-12)


def test_other_linear_maps_do_matter() -> None:
    x = draw(50, 5)
    assert cka(x * np.array([1, 1, 1, 1, 50]), x) < 0.9


def plain_cka(x: Array, y: Array) -> float:
    """Kornblith et al. 2019, section 3, whose estimate of HSIC is biased."""
    x, y = x - x.mean(axis=0), y - y.mean(axis=0)
    shared = np.linalg.norm(y.T @ x) ** 2
    return float(shared / (np.linalg.norm(x.T @ x) * np.linalg.norm(y.T @ y)))


@pytest.mark.parametrize("channels", [2, 512])
def test_unrelated_features_are_not_alike_however_many_channels_they_have(channels: int) -> None:
    pairs = [(draw(60, channels, seed=s), draw(60, channels, seed=s + 100)) for s in range(10)]
    assert abs(np.mean([cka(x, y) for x, y in pairs])) < 0.05
    if channels == 512:
        assert np.mean([plain_cka(x, y) for x, y in pairs]) > 0.8


def test_with_many_images_of_few_channels_it_is_the_plain_estimate() -> None:
    x = draw(3000, 4)
    y = x @ draw(4, 3, seed=1) + draw(3000, 3, seed=2)
    assert cka(x, y) == pytest.approx(plain_cka(x, y), abs=2e-3)


@pytest.mark.parametrize("value", [0.0, 100.1])
def test_features_that_never_change_are_like_nothing(value: float) -> None:
    assert cka(np.full((7, 3), value), draw(7, 4)) == 0


def test_features_that_change_in_one_image_only_are_like_nothing() -> None:
    x = np.full((7, 3), 2.5)
    x[4] += 1
    assert cka(x, draw(7, 4)) == 0


@pytest.mark.parametrize(
    ("x", "y", "says"),
    [
        ((3, 2), (3, 2), "CKA of 3 images .allowed: 4 or more."),
        ((5, 2), (6, 2), r"not \(5, 2\) and \(6, 2\)"),
        ((5, 2, 1, 1), (5, 2), "must be"),
    ],
)
def test_what_cannot_be_compared_is_refused(
    x: tuple[int, ...], y: tuple[int, ...], says: str
) -> None:
    with pytest.raises(ValueError, match=says):
        cka(draw(*x), draw(*y))
