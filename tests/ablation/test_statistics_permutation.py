"""The sign-flip test counts every assignment of signs."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mlfd_tune.ablation.statistics import sign_flip
from mlfd_tune.ablation.statistics.permutation import MOST_EXACT, RESAMPLES

whole = st.lists(st.integers(-20, 20).map(float), min_size=1, max_size=10)
real = st.lists(st.floats(-50, 50, allow_subnormal=False), min_size=1, max_size=9)


def counted(differences: list[float]) -> float:
    """The definition: whole numbers, so that ties are exact."""
    observed = abs(sum(differences))
    flips = itertools.product((1, -1), repeat=len(differences))
    sums = [
        sum(sign * value for sign, value in zip(signs, differences, strict=True)) for signs in flips
    ]
    return sum(abs(value) >= observed for value in sums) / len(sums)


@settings(max_examples=60, deadline=None)
@given(whole)
def test_p_is_the_share_of_all_signs_at_least_as_extreme(differences: list[float]) -> None:
    assert sign_flip(differences).p == counted(differences)


@settings(max_examples=60, deadline=None)
@given(whole, st.floats(0.01, 100))
def test_neither_order_nor_unit_nor_the_side_of_the_reference_matters(
    differences: list[float], unit: float
) -> None:
    p = sign_flip(differences).p
    assert sign_flip(differences[::-1]).p == p
    assert sign_flip([-value for value in differences]).p == p
    # Ties stay ties, although 0.1 + 0.2 is not 0.3.
    assert sign_flip([value * unit for value in differences]).p == p


@settings(max_examples=60, deadline=None)
@given(real)
def test_p_lies_between_its_floor_and_one(differences: list[float]) -> None:
    test = sign_flip(differences)
    assert test.floor == 2 / 2 ** len(differences)
    assert test.floor <= test.p <= 1
    assert test.n == len(differences)


@settings(max_examples=30, deadline=None)
@given(st.lists(st.floats(0.01, 50), min_size=1, max_size=25))
def test_differences_of_one_sign_reach_the_floor(differences: list[float]) -> None:
    assert sign_flip(differences).p == sign_flip(differences).floor


def test_no_difference_at_all_is_no_evidence() -> None:
    assert sign_flip([0.0, 0.0, 0.0]).p == 1.0


def test_forty_differences_are_still_counted_one_by_one() -> None:
    # Equal magnitudes: the number of positive signs is binomial.
    differences = [1.0] * 28 + [-1.0] * 12
    tail = sum(math.comb(40, ups) for ups in range(28, 41))
    assert len(differences) == MOST_EXACT
    assert sign_flip(differences).p == pytest.approx(2 * tail / 2**40, rel=1e-12)


def test_more_than_that_are_sampled_alike_every_time_and_close_to_the_truth() -> None:
    differences = [1.0] * 40 + [-1.0] * 21
    tail = sum(math.comb(61, ups) for ups in range(40, 62))
    test = sign_flip(differences)
    error = 4 * math.sqrt(0.02 * 0.98 / RESAMPLES)
    assert test.p == pytest.approx(2 * tail / 2**61, abs=error)
    assert test == sign_flip(differences)
    assert sign_flip([1.0] * 61).p == sign_flip([1.0] * 61).floor == 2 / (RESAMPLES + 1)


@pytest.mark.parametrize("values", [[], [1.0, math.nan], [np.inf]])
def test_only_finite_numbers_are_taken(values: list[float]) -> None:
    with pytest.raises(ValueError, match="sign-flip test needs"):
        sign_flip(values)
