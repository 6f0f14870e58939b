from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mlfd_tune.core.statistics import Interval, mean_interval, paired_interval

# Two-sided 95 % Student t quantiles by degrees of freedom, from the printed tables.
T_95 = {1: 12.706205, 2: 4.302653, 3: 3.182446, 4: 2.776445, 9: 2.262157}

percentages = st.floats(min_value=0, max_value=100)


@pytest.mark.parametrize("n", [2, 3, 4, 5, 10])
def test_mean_interval_follows_the_tabulated_student_t(n: int) -> None:
    values = np.random.default_rng(n).normal(70, 3, n)
    centre = sum(values) / n
    spread = math.sqrt(sum((value - centre) ** 2 for value in values) / (n - 1))

    interval = mean_interval(values.tolist())

    assert interval.n == n
    assert interval.mean == pytest.approx(centre, abs=1e-9)
    assert interval.low == pytest.approx(centre - T_95[n - 1] * spread / math.sqrt(n), abs=1e-5)
    assert interval.high == pytest.approx(centre + T_95[n - 1] * spread / math.sqrt(n), abs=1e-5)


def test_other_confidences_use_their_own_quantile() -> None:
    # t(0.95, 2) = 2.919986; the values 1, 2, 3 have s = 1.
    interval = mean_interval([1.0, 2.0, 3.0], confidence=0.9)
    assert interval.high == pytest.approx(2 + 2.919986 / math.sqrt(3), abs=1e-6)


def test_one_value_has_a_mean_but_no_interval() -> None:
    assert mean_interval([61.5]) == Interval(61.5, None, None, 1)


def test_equal_values_give_an_interval_of_no_width() -> None:
    assert mean_interval([50.0, 50.0, 50.0]) == Interval(50.0, 50.0, 50.0, 3)


@pytest.mark.parametrize(
    ("values", "confidence"),
    [([], 0.95), ([1.0, math.nan], 0.95), ([math.inf], 0.95), ([1.0], 0.0), ([1.0], 1.0)],
)
def test_what_has_no_interval_is_refused(values: list[float], confidence: float) -> None:
    with pytest.raises(ValueError, match=r"interval needs|confidence must"):
        mean_interval(values, confidence)


def test_paired_interval_uses_shared_seeds_only() -> None:
    method = {0: 71.0, 1: 74.0, 2: 78.0, 9: 99.0}
    baseline = {0: 70.0, 1: 72.0, 2: 75.0, 8: 0.0}

    gain = paired_interval(method, baseline)

    # Differences 1, 2, 3: mean 2, s = 1.
    assert gain is not None
    assert (gain.mean, gain.n) == (2.0, 3)
    assert gain.low == pytest.approx(2 - T_95[2] / math.sqrt(3), abs=1e-6)


def test_pairing_removes_what_the_seed_alone_does() -> None:
    luck = np.random.default_rng(0).normal(0, 10, 6)
    baseline = {seed: 60 + luck[seed] for seed in range(6)}
    method = {seed: 61 + luck[seed] for seed in range(6)}

    gain = paired_interval(method, baseline)

    assert gain is not None
    assert gain.low == pytest.approx(1.0)
    assert gain.high == pytest.approx(1.0)


def test_without_a_shared_seed_there_is_no_paired_interval() -> None:
    assert paired_interval({0: 1.0}, {1: 1.0}) is None


@given(st.lists(percentages, min_size=2, max_size=12), st.floats(-50, 50))
def test_shifting_all_values_shifts_the_interval(values: list[float], shift: float) -> None:
    before = mean_interval(values)
    after = mean_interval([value + shift for value in values])
    assert before.low is not None
    assert after.low is not None
    assert after.mean == pytest.approx(before.mean + shift, abs=1e-6)
    assert after.low == pytest.approx(before.low + shift, abs=1e-6)


@given(st.lists(st.tuples(percentages, percentages), min_size=1, max_size=12))
def test_swapping_the_sides_mirrors_the_paired_interval(pairs: list[tuple[float, float]]) -> None:
    left = {seed: pair[0] for seed, pair in enumerate(pairs)}
    right = {seed: pair[1] for seed, pair in enumerate(pairs)}
    forth, back = paired_interval(left, right), paired_interval(right, left)
    assert forth is not None
    assert back is not None
    assert forth.mean == pytest.approx(-back.mean, abs=1e-9)
    if forth.low is not None and back.high is not None:
        assert forth.low == pytest.approx(-back.high, abs=1e-9)


def test_the_interval_covers_the_true_mean_as_often_as_it_says() -> None:
    rng = np.random.default_rng(7)
    hits = 0
    for _ in range(2000):
        interval = mean_interval(rng.normal(5, 2, 4).tolist(), confidence=0.9)
        assert interval.low is not None
        assert interval.high is not None
        hits += interval.low <= 5 <= interval.high
    assert hits / 2000 == pytest.approx(0.9, abs=0.025)
