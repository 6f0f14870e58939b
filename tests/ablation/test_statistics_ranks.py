"""Arms across datasets, by rank."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import gammaincc
from scipy.stats import studentized_range

from mlfd_tune.ablation.statistics import friedman_nemenyi

CLASSIFIERS = {  # Demšar (2006), table 6: areas under the curve on 14 data sets
    "C4.5": [.763, .599, .954, .628, .882, .936, .661, .583, .775, 1., .940, .619, .972, .957],
    "C4.5+m": [.768, .591, .971, .661, .888, .931, .668, .583, .838, 1., .962, .666, .981, .978],
    "C4.5+cf": [.771, .590, .968, .654, .886, .916, .609, .563, .866, 1., .965, .614, .9751, .946],
    "C4.5+m+cf": [.798, .569, .967, .657, .898, .931, .685, .625, .875, 1., .962, .669, .975, .970],
}  # fmt: skip


def test_it_finds_what_demsar_found() -> None:
    ranks = friedman_nemenyi(CLASSIFIERS)

    assert ranks is not None
    assert ranks.blocks == 14
    assert ranks.mean_ranks == pytest.approx((3.143, 2.000, 2.893, 1.964), abs=5e-4)
    assert ranks.critical_difference == pytest.approx(1.25, abs=0.005)
    # He has 9.28 for chi squared with 3 degrees of freedom, not corrected for the ties: four arms
    # on one data set and two on three others.
    ties = 1 - ((4**3 - 4) + 3 * (2**3 - 2)) / (14 * (4**3 - 4))
    assert ranks.p == pytest.approx(gammaincc(1.5, 9.28 / ties / 2), abs=2e-4)


@st.composite
def tables(draw: st.DrawFn) -> np.ndarray:
    shape = draw(st.tuples(st.integers(2, 6), st.integers(3, 5)))
    seed = draw(st.integers(0, 10**6))
    return np.random.default_rng(seed).permuted(
        np.tile(np.arange(shape[1], dtype=float), (shape[0], 1)), axis=1
    )


@settings(max_examples=25, deadline=None)
@given(tables())
def test_p_values_are_those_of_the_equations(table: np.ndarray) -> None:
    n, k = table.shape
    ranks = friedman_nemenyi({f"arm {arm}": list(table[:, arm]) for arm in range(k)})

    assert ranks is not None
    mean = (k - table).mean(axis=0)  # the highest score, k - 1, has rank 1
    assert ranks.mean_ranks == pytest.approx(tuple(mean))
    # Demšar (2006), equation of Friedman's statistic; its p is that of chi squared.
    chi = 12 * n / (k * (k + 1)) * ((mean**2).sum() - k * (k + 1) ** 2 / 4)
    assert ranks.p == pytest.approx(gammaincc((k - 1) / 2, max(chi, 0) / 2), abs=1e-9)
    error = math.sqrt(k * (k + 1) / (6 * n))
    for (one, other), p in ranks.p_pairs.items():
        apart = abs(mean[int(one[4:])] - mean[int(other[4:])])
        expected = studentized_range.sf(apart / error * math.sqrt(2), k, np.inf)
        assert p == pytest.approx(expected, abs=2e-4)
        assert (apart > ranks.critical_difference) == (expected < 0.05)
    assert len(ranks.p_pairs) == k * (k - 1) / 2


def test_arms_that_always_tie_are_told_apart_by_nothing() -> None:
    ranks = friedman_nemenyi({"a": [1.0, 2.0], "b": [1.0, 2.0], "c": [1.0, 2.0]})
    assert ranks is not None
    assert ranks.mean_ranks == (2.0, 2.0, 2.0)
    assert ranks.p == 1.0


def test_two_arms_or_one_dataset_have_no_ranks() -> None:
    assert friedman_nemenyi({}) is None
    assert friedman_nemenyi({"a": [1.0, 2.0], "b": [2.0, 1.0]}) is None
    assert friedman_nemenyi({"a": [1.0], "b": [2.0], "c": [3.0]}) is None


def test_arms_must_be_on_the_same_datasets() -> None:
    with pytest.raises(ValueError, match="the same datasets"):
        friedman_nemenyi({"a": [1.0, 2.0], "b": [2.0, 1.0], "c": [2.0, 1.0, 3.0]})
