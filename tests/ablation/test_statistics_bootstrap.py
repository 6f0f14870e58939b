"""The bootstrap interval of an arm's mean, and the size of an effect."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import special

from mlfd_tune.ablation.statistics import bca_interval, hedges_g

accuracies = st.lists(st.floats(0, 100, width=32), min_size=2, max_size=12)


def ends(values: list[float], confidence: float = 0.95) -> tuple[float, float]:
    interval = bca_interval(values, confidence)
    assert interval.low is not None
    assert interval.high is not None
    return interval.low, interval.high


def efron(values: list[float], resamples: int, seed: int) -> tuple[float, float]:
    """Efron (1987), equation 2.3 with the acceleration of the jackknife (6.6)."""
    x = np.array(values)
    rng = np.random.default_rng(seed)
    means = np.sort(rng.choice(x, size=(resamples, x.size)).mean(axis=1))
    below = (means < x.mean()).mean() + (means == x.mean()).mean() / 2
    z0 = special.ndtri(below)
    left_out = (x.sum() - x) / (x.size - 1)
    spread = left_out.mean() - left_out
    a = (spread**3).sum() / (6 * (spread**2).sum() ** 1.5)
    low, high = (
        special.ndtr(z0 + (z0 + z) / (1 - a * (z0 + z))) for z in special.ndtri([0.025, 0.975])
    )
    return float(np.quantile(means, low)), float(np.quantile(means, high))


@pytest.mark.parametrize(
    "values",
    [
        [61.0, 64.5, 62.25, 63.0, 60.5, 65.0],
        [80.0, 80.5, 81.0, 80.25, 92.0, 80.75, 81.25, 80.1],  # skewed
    ],
)
def test_the_interval_is_efrons(values: list[float]) -> None:
    spread = max(values) - min(values)
    low, high = efron(values, 200_000, seed=5)
    assert ends(values) == pytest.approx((low, high), abs=0.02 * spread)


def test_it_follows_the_skew_of_the_values() -> None:
    values = [80.0, 80.1, 80.2, 80.3, 80.4, 95.0]
    low, high = ends(values)
    mean = float(np.mean(values))
    assert high - mean > 1.5 * (mean - low)


@settings(max_examples=25, deadline=None)
@given(accuracies)
def test_it_holds_the_mean_and_stays_within_the_values(values: list[float]) -> None:
    low, high = ends(values)
    assert min(values) - 1e-9 <= low <= np.mean(values) + 1e-9
    assert np.mean(values) - 1e-9 <= high <= max(values) + 1e-9


@settings(max_examples=15, deadline=None)
@given(accuracies)
def test_the_same_values_give_the_same_interval_in_any_order(values: list[float]) -> None:
    assert ends(values) == ends(values[::-1])


def test_a_higher_confidence_is_a_wider_interval() -> None:
    values = [1.0, 2.0, 4.0, 8.0, 16.0]
    (low, high), (lower, higher) = ends(values, 0.8), ends(values, 0.99)
    assert lower < low < high < higher


def test_one_value_has_no_interval_and_equal_values_are_a_point() -> None:
    one, equal = bca_interval([70.0]), bca_interval([0.1 + 0.2, 0.3, 0.3])
    assert (one.mean, one.low, one.high, one.n) == (70.0, None, None, 1)
    assert equal.low == equal.mean == equal.high
    assert equal.n == 3


def test_hedges_g_is_the_mean_in_units_of_the_scatter_less_a_correction() -> None:
    differences = [1.0, 2.0, 3.0, 6.0]
    plain = np.mean(differences) / np.std(differences, ddof=1)
    # J(m) for m = 3 degrees of freedom: gamma(1.5) / (sqrt(1.5) gamma(1)), about 1 - 3 / (4m - 1).
    correction = math.gamma(1.5) / (math.sqrt(1.5) * math.gamma(1.0))
    assert hedges_g(differences) == pytest.approx(plain * correction)
    assert correction == pytest.approx(1 - 3 / 11, abs=0.01)


def test_hedges_g_is_unbiased() -> None:
    # Mean 0.8, spread 1: the uncorrected effect size would be 1.19 times too large with 6 seeds.
    samples = np.random.default_rng(3).normal(0.8, 1.0, size=(4_000, 6))
    found = [hedges_g(list(sample)) for sample in samples]
    values = np.array([value for value in found if value is not None])
    assert values.mean() == pytest.approx(0.8, abs=4 * values.std() / math.sqrt(len(values)))


@settings(max_examples=40, deadline=None)
@given(st.lists(st.integers(-9, 9).map(float), min_size=3, max_size=9), st.floats(0.1, 10))
def test_hedges_g_has_no_unit_and_turns_with_the_differences(
    differences: list[float], unit: float
) -> None:
    g = hedges_g(differences)
    scaled = hedges_g([-unit * value for value in differences])
    if g is None:
        assert scaled is None
    else:
        assert scaled == pytest.approx(-g)


@pytest.mark.parametrize("differences", [[1.0], [1.0, 2.0], [2.0, 2.0, 2.0], [0.0, 0.0, 0.0]])
def test_hedges_g_is_undefined_without_degrees_of_freedom_or_scatter(
    differences: list[float],
) -> None:
    assert hedges_g(differences) is None
