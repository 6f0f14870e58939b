"""Holm's correction, how many seeds a family needs, and how error is spent over looks."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from statsmodels.stats.multitest import multipletests

from mlfd_tune.ablation.statistics import holm, look_confidences, seeds_needed, sign_flip

ps = st.lists(st.floats(0, 1), min_size=1, max_size=8)


@settings(max_examples=60, deadline=None)
@given(ps)
def test_holm_rejects_step_by_step_from_the_smallest_p(values: list[float]) -> None:
    # The procedure as Holm (1979) states it; a corrected p is the level from which on it rejects.
    order = sorted(values)
    for p, corrected in zip(values, holm(values), strict=True):
        for alpha in (corrected - 1e-9, corrected + 1e-9):
            rejected = list(
                itertools.takewhile(
                    lambda step, alpha=alpha: step[1] * (len(order) - step[0]) <= alpha,
                    enumerate(order),
                )
            )
            is_rejected = any(value == p for _, value in rejected)
            assert is_rejected == (corrected < alpha) or corrected == 1.0


def test_holm_is_what_statsmodels_has() -> None:
    values = list(np.random.default_rng(1).uniform(size=12) ** 3)
    values[3] = values[7]
    assert holm(values) == pytest.approx(list(multipletests(values, method="holm")[1]))


@settings(max_examples=60, deadline=None)
@given(ps)
def test_a_corrected_p_lies_between_the_p_and_bonferronis(values: list[float]) -> None:
    for p, corrected in zip(values, holm(values), strict=True):
        assert p <= corrected + 1e-12
        assert corrected <= min(1.0, len(values) * p) or len(set(values)) > 1


@settings(max_examples=60, deadline=None)
@given(ps, st.integers(0, 7), st.floats(0, 1))
def test_no_corrected_p_falls_when_a_p_of_the_family_rises(
    values: list[float], place: int, share: float
) -> None:
    # What makes "too few seeds" safe to say: the corrected floors bound the corrected p values.
    raised = list(values)
    index = place % len(values)
    raised[index] += share * (1 - raised[index])
    for before, after in zip(holm(values), holm(raised), strict=True):
        assert after >= before - 1e-12


def test_a_family_of_none_or_one_stays_as_it_is() -> None:
    assert holm([]) == []
    assert holm([0.03]) == [0.03]


@pytest.mark.parametrize("values", [[-0.1], [1.1], [math.nan]])
def test_holm_takes_nothing_but_p_values(values: list[float]) -> None:
    with pytest.raises(ValueError, match=r"p values lie|finite"):
        holm(values)


@pytest.mark.parametrize(
    ("comparisons", "alpha", "n"), [(1, 0.05, 6), (2, 0.05, 7), (4, 0.05, 8), (1, 0.01, 8)]
)
def test_the_seeds_that_a_family_needs(comparisons: int, alpha: float, n: int) -> None:
    assert seeds_needed(comparisons, alpha) == n


@settings(max_examples=40, deadline=None)
@given(st.integers(1, 40), st.sampled_from([0.1, 0.05, 0.01]))
def test_with_one_seed_less_not_even_the_clearest_result_counts(family: int, alpha: float) -> None:
    def clearest(n: int) -> float:
        return holm([sign_flip([1.0] * n).p] * family)[0]

    n = seeds_needed(family, alpha)
    assert clearest(n) <= alpha < clearest(n - 1)


@settings(max_examples=40, deadline=None)
@given(st.integers(1, 30), st.floats(0.001, 0.5))
def test_looks_spend_no_more_than_alpha_together(looks: int, alpha: float) -> None:
    confidences = look_confidences(looks, alpha)
    assert len(confidences) == looks
    assert sum(1 - confidence for confidence in confidences) == pytest.approx(alpha)
    # Pocock's function: the first look may spend most.
    assert all(one < other for one, other in itertools.pairwise(confidences))


def test_one_look_spends_all_and_two_spend_as_lan_and_demets_say() -> None:
    assert look_confidences(1) == pytest.approx([0.95])
    first = 0.05 * math.log(1 + (math.e - 1) / 2)
    assert look_confidences(2) == pytest.approx([1 - first, 1 - (0.05 - first)])


@pytest.mark.parametrize("wrong", [(0, 0.05), (2, 0.0), (2, 1.0)])
def test_nonsense_is_refused(wrong: tuple[int, float]) -> None:
    with pytest.raises(ValueError, match=r"at least one|alpha"):
        look_confidences(*wrong)
    with pytest.raises(ValueError, match=r"at least one|alpha"):
        seeds_needed(*wrong)
