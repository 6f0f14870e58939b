"""Shapley values of teachers, against their definition over all orders."""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mlfd_tune.ablation import ArmRow, arms_of
from mlfd_tune.ablation.contribution import contributions
from mlfd_tune.ablation.designs.teacher_subsets import arm_name, subset_plan
from mlfd_tune.config import AblationConfig
from mlfd_tune.core.statistics import mean_interval
from tests.helpers.ablations import ablation_config

SEEDS = ("0", "1", "2")


def config_of(teachers: int, **design: Any) -> AblationConfig:
    datasets = {f"d{i}": {"source": "digits"} for i in range(teachers)}
    design = {"kind": "teacher_subsets", "permutations": 4, **design}
    return ablation_config(design, datasets=datasets, targets=["d0"])


def rows_of(config: AblationConfig, values: Mapping[str, Mapping[str, float]]) -> list[ArmRow]:
    """Return rows of one dataset with these values by arm and seed."""
    return [
        ArmRow(
            dataset="d0",
            arm=arm.name,
            is_reference=arm.is_reference,
            values=values[arm.name],
            mean=mean_interval(list(values[arm.name].values())),
            std=None,
            comparison=None,
        )
        for arm in arms_of(config, "d0")
        if values.get(arm.name)
    ]


def drawn(config: AblationConfig, seed: int) -> dict[str, dict[str, float]]:
    """Return random accuracies of every arm on every seed."""
    generator = np.random.default_rng(seed)
    return {
        arm.name: {name: float(generator.uniform(0, 100)) for name in SEEDS}
        for arm in arms_of(config, "d0")
    }


def over_all_orders(config: AblationConfig, values: Any, seed: str) -> dict[str, float]:
    """Return what each teacher adds to those before it, averaged over every order."""
    plan = subset_plan(config, "d0")
    orders = list(itertools.permutations(plan.teachers))
    added = dict.fromkeys(plan.teachers, 0.0)
    for order in orders:
        for place, name in enumerate(order):
            with_it, before = frozenset(order[: place + 1]), frozenset(order[:place])
            added[name] += values[arm_name(plan, with_it)][seed]
            added[name] -= values[arm_name(plan, before)][seed]
    return {name: total / len(orders) for name, total in added.items()}


@given(teachers=st.integers(2, 5), draw=st.integers(0, 10_000))
@settings(max_examples=20, deadline=None)
def test_exact_values_are_the_mean_over_all_orders(teachers: int, draw: int) -> None:
    config = config_of(teachers)
    values = drawn(config, draw)

    found = contributions(config, rows_of(config, values))

    by_seed = [over_all_orders(config, values, seed) for seed in SEEDS]
    for one in found:
        expected = [of_seed[one.teacher] for of_seed in by_seed]
        assert one.shapley.mean == pytest.approx(np.mean(expected), abs=1e-9)
        assert one.shapley.low == pytest.approx(mean_interval(expected).low, abs=1e-9)
        assert (one.n, one.sampled, one.left_out) == (3, False, 0)


@given(teachers=st.integers(2, 8), draw=st.integers(0, 10_000))
@settings(max_examples=20, deadline=None)
def test_values_sum_to_what_all_teachers_gain_over_none(teachers: int, draw: int) -> None:
    config = config_of(teachers)
    values = drawn(config, draw)

    for seed in SEEDS:  # on every seed alone
        of_seed = {arm: {seed: by_seed[seed]} for arm, by_seed in values.items()}
        found = contributions(config, rows_of(config, of_seed))
        gain = values["all teachers"][seed] - values["no teacher"][seed]
        assert sum(one.shapley.mean for one in found) == pytest.approx(gain, abs=1e-9)
        assert all(one.sampled == (teachers > 5) for one in found)


def test_sampled_values_are_the_mean_over_the_orders_drawn() -> None:
    config = config_of(6)
    plan, values = subset_plan(config, "d0"), drawn(config, 1)

    found = {one.teacher: one for one in contributions(config, rows_of(config, values))}

    for name in plan.teachers:
        added = []
        for order in plan.orders:
            place = order.index(name)
            with_it = arm_name(plan, frozenset(order[: place + 1]))
            before = arm_name(plan, frozenset(order[:place]))
            added.append(np.mean([values[with_it][s] - values[before][s] for s in SEEDS]))
        assert found[name].shapley.mean == pytest.approx(np.mean(added))


def test_drop_one_is_what_all_gain_over_all_but_one() -> None:
    config = config_of(3)
    values = drawn(config, 2)

    found = {one.teacher: one for one in contributions(config, rows_of(config, values))}

    lost = [values["all teachers"][s] - values["teachers d0+d2"][s] for s in SEEDS]
    assert found["d1"].drop_one == mean_interval(lost)


def test_a_teacher_that_changes_nothing_contributes_nothing() -> None:
    config = config_of(3)
    plan = subset_plan(config, "d0")
    values = {
        arm_name(plan, subset): dict.fromkeys(SEEDS, 50.0 + 3 * ("d0" in subset))
        for subset in plan.subsets
    }

    found = {one.teacher: one for one in contributions(config, rows_of(config, values))}

    assert found["d0"].shapley.mean == pytest.approx(3)
    assert found["d1"].shapley.mean == found["d2"].shapley.mean == 0


def test_seeds_that_lack_an_arm_are_left_out_and_counted() -> None:
    config = config_of(2)
    values = drawn(config, 3)
    whole = contributions(config, rows_of(config, {k: dict(v) for k, v in values.items()}))
    del values["teacher d1"]["1"]

    found = contributions(config, rows_of(config, values))

    assert {(one.n, one.left_out) for one in found} == {(2, 1)}
    assert found[0].shapley.n == 2
    assert found[0].shapley != whole[0].shapley


def test_without_a_seed_that_has_every_arm_nothing_is_said() -> None:
    config = config_of(2)
    values = drawn(config, 4) | {"no teacher": {}}

    assert contributions(config, rows_of(config, values)) == []


def test_other_designs_have_no_contributions() -> None:
    config = ablation_config({"factors": {"distillation.alpha": [0.0, 0.6]}})

    assert contributions(config, []) == []
