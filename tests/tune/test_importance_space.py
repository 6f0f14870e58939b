"""Parameters as numbers, and a forest's means against scikit-learn's."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
)
from sklearn.ensemble import RandomForestRegressor
from sklearn.inspection import partial_dependence

from mlfd_tune.tune.importance_forest import TREES, Forest, friedman_h
from mlfd_tune.tune.importance_space import Encoding, Parameter
from mlfd_tune.tune.rung_trials import Point

DISTRIBUTIONS = st.one_of(
    st.builds(
        lambda low, width: FloatDistribution(low, low + width),
        st.floats(-100, 100),
        st.floats(0.01, 100),
    ),
    st.builds(
        lambda low, factor: FloatDistribution(low, low * factor, log=True),
        st.floats(1e-6, 10),
        st.floats(1.5, 1e5),
    ),
    st.builds(
        lambda n: FloatDistribution(0.1, round(0.1 + 0.2 * n, 9), step=0.2), st.integers(1, 60)
    ),
    st.builds(
        lambda low, n, step: IntDistribution(low, low + n * step, step=step),
        st.integers(-50, 50),
        st.integers(1, 80),
        st.integers(1, 7),
    ),
    st.builds(
        lambda low, factor: IntDistribution(low, low * factor, log=True),
        st.integers(1, 20),
        st.integers(2, 60),
    ),
)


@settings(max_examples=150, deadline=None)
@given(distribution=DISTRIBUTIONS, most=st.integers(2, 30))
def test_a_grid_is_of_values_that_can_be_drawn_from_the_lowest_to_the_highest(
    distribution: FloatDistribution | IntDistribution, most: int
) -> None:
    parameter = Parameter.of("p", distribution, [])
    values = [parameter.value(number) for number in parameter.grid(most)]

    assert 2 <= len(values) <= most
    assert values == sorted(set(values))
    assert values[0] == pytest.approx(distribution.low)
    assert values[-1] == pytest.approx(distribution.high)
    if distribution.step is not None:
        steps = [(value - distribution.low) / distribution.step for value in values]
        assert steps == pytest.approx([round(step) for step in steps], abs=1e-6)
    for value in values:
        assert parameter.value(parameter.number(value)) == pytest.approx(value)


@given(st.lists(st.text(min_size=1), min_size=1, max_size=6, unique=True), st.data())
def test_a_category_is_its_place_among_those_that_were_tried(
    choices: list[str], data: st.DataObject
) -> None:
    tried = data.draw(st.lists(st.sampled_from(choices), min_size=1, unique=True))
    points = [Point({"p": choice}, 0.0) for choice in tried]
    parameter = Parameter.of("p", CategoricalDistribution(choices), points)

    assert [parameter.value(number) for number in parameter.grid(2)] == [
        choice for choice in choices if choice in tried
    ]
    assert parameter.varies == (len(tried) > 1)
    columns = Encoding([parameter]).columns(Encoding([parameter]).numbers(points))
    assert columns.shape == (len(tried), len(tried))
    assert (columns.sum(axis=0) == 1).all()
    assert (columns.sum(axis=1) == 1).all()


def test_points_spread_over_the_space_have_each_quantile_of_each_parameter_once() -> None:
    space: dict[str, BaseDistribution] = {
        "x": FloatDistribution(-1, 1),
        "rate": FloatDistribution(1e-4, 1, log=True),
        "c": CategoricalDistribution(["a", "b"]),
    }
    points = [Point({"x": 0.0, "rate": 1.0, "c": c}, 0.0) for c in "ab"]
    parameters = [Parameter.of(name, d, points) for name, d in space.items()]

    spread = Encoding(parameters).spread(8)

    assert np.sort(spread[:, 0]) == pytest.approx(np.arange(-7, 8, 2) / 8)
    assert np.sort(spread[:, 1]) == pytest.approx(np.arange(-3.75, 0, 0.5))
    assert sorted(spread[:, 2]) == [0] * 4 + [1] * 4


def test_means_are_the_partial_dependence_that_scikit_learn_computes() -> None:
    draw = np.random.default_rng(0)
    names = ("x", "y", "z")
    distributions = [FloatDistribution(-1, 1) for _ in names]
    rows = draw.uniform(-1, 1, (25, 3))
    values = rows[:, 0] + rows[:, 1] * rows[:, 2]
    points = [
        Point(dict(zip(names, row, strict=True)), float(value))
        for row, value in zip(rows, values, strict=True)
    ]
    parameters = [
        Parameter.of(name, d, points) for name, d in zip(names, distributions, strict=True)
    ]

    grid, predicted = Forest(points, parameters).marginal("y")
    strength = Forest(points, parameters).interaction("y", "z")

    other = RandomForestRegressor(n_estimators=TREES, random_state=0).fit(rows, values)
    background = Encoding(parameters).spread(128)
    theirs = partial_dependence(
        other, background, [1], method="brute", custom_values={1: grid}, kind="average"
    )
    assert predicted.shape == (TREES, 21)
    assert predicted.mean(axis=0) == pytest.approx(theirs["average"][0], abs=1e-6)

    sides = {1: np.linspace(-1, 1, 7), 2: np.linspace(-1, 1, 7)}
    table = partial_dependence(
        other, background, [1, 2], method="brute", custom_values=sides, kind="average"
    )["average"][0]
    total = rest = 0.0  # Eq. 44, cell by cell
    for i, j in itertools.product(range(7), range(7)):
        joint = table[i, j] - table.mean()
        alone = table[i].mean() - table.mean() + table[:, j].mean() - table.mean()
        total, rest = total + joint**2, rest + (joint - alone) ** 2
    assert strength == pytest.approx((rest / total) ** 0.5, abs=1e-5)


SIDE = st.integers(2, 6)


@given(st.data(), SIDE, SIDE)
def test_what_adds_up_has_no_interaction(data: st.DataObject, rows: int, columns: int) -> None:
    numbers = st.floats(-100, 100)
    one = data.draw(arrays(float, rows, elements=numbers))
    other = data.draw(arrays(float, columns, elements=numbers))
    table = one[:, None] + other
    if np.ptp(table) > 1e-3:
        assert friedman_h(table) == pytest.approx(0, abs=1e-6)


@given(st.data(), SIDE, SIDE)
def test_an_interaction_is_a_share(data: st.DataObject, rows: int, columns: int) -> None:
    table = data.draw(arrays(float, (rows, columns), elements=st.floats(-100, 100)))
    assert 0 <= friedman_h(table) <= 1 + 1e-9
    assert friedman_h(table.T) == pytest.approx(friedman_h(table), abs=1e-9)


def test_a_pure_product_is_all_interaction() -> None:
    side = np.linspace(-1, 1, 7)
    assert friedman_h(np.outer(side, side)) == pytest.approx(1)
    # Of xy on the unit square 1/7 of the variance is interaction.
    fine = (np.arange(400) + 0.5) / 400
    assert friedman_h(np.outer(fine, fine)) ** 2 == pytest.approx(1 / 7, abs=1e-3)
    assert friedman_h(np.full((3, 3), 4.0)) == 0
