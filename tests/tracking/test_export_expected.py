"""What a repetition must give: the same, or a mean inside the prediction interval."""

from __future__ import annotations

import math

import numpy as np
import pytest

from mlfd_tune.core.statistics import Interval
from mlfd_tune.tracking.export_expected import Recorded, judge

VALUES = {4: 80.0, 5: 83.0, 6: 79.0}
T_2 = 4.302653  # two-sided 95 % Student t quantile with 2 degrees of freedom
MEAN = 242 / 3


def one(mean: float = MEAN, values: dict[int, float] = VALUES) -> Recorded:
    return Recorded("val/acc1", values, Interval(mean, 75.0, 86.0, len(values)))


def test_the_same_values_are_reproduced_exactly() -> None:
    finding = judge(one(), {4: 80.0})

    assert finding.exact
    assert finding.problem is None
    assert str(finding) == "val/acc1 of seed 4: expected 80.0000; found exactly that"


def test_where_nothing_differs_another_value_is_not_reproduced() -> None:
    finding = judge(one(), {4: 80.1})

    assert finding.problem == "differs, though nothing that is recorded does"


@pytest.mark.parametrize("seeds", [1, 2, 3])
def test_where_something_differs_the_mean_must_lie_in_the_prediction_interval(seeds: int) -> None:
    chosen = list(VALUES)[:seeds]
    spread = np.std(list(VALUES.values()), ddof=1)
    half_width = T_2 * spread * math.sqrt(1 / seeds + 1 / 3)

    inside = judge(one(), dict.fromkeys(chosen, MEAN + half_width - 0.01), ["torch"])
    outside = judge(one(), dict.fromkeys(chosen, MEAN + half_width + 0.01), ["torch"])

    assert inside.interval == pytest.approx((MEAN - half_width, MEAN + half_width), rel=1e-5)
    assert inside.problem is None
    assert outside.problem == "outside"


def test_nineteen_of_twenty_faithful_repetitions_lie_inside() -> None:
    draws = np.random.default_rng(0).normal(80, 2, size=(4000, 4))
    held = 0
    for first, second, third, new in draws:
        recorded = Recorded("val/acc1", {1: first, 2: second, 3: third}, None)
        held += judge(recorded, {1: new}, ["torch"]).problem is None
    assert held / len(draws) == pytest.approx(0.95, abs=0.01)


def test_one_recorded_seed_gives_no_interval_to_judge_by() -> None:
    recorded = one(80.0, {4: 80.0})

    assert judge(recorded, {4: 80.0}, ["torch"]).problem is None
    problem = judge(recorded, {4: 80.1}, ["torch"]).problem
    assert problem == "differs, and one recorded seed gives no interval to judge by"


def test_a_stated_mean_that_is_not_that_of_the_seeds_is_not_reproduced() -> None:
    finding = judge(one(mean=85.0), {4: 80.0})

    assert finding.problem == "the stated mean 85.0000 is not that of the recorded seeds, 80.6667"
