"""Leaving out teachers: which subsets have an arm, and what those arms compute anew."""

from __future__ import annotations

from collections import Counter
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from mlfd_tune.ablation import arms_of
from mlfd_tune.ablation.designs.teacher_subsets import subset_plan
from mlfd_tune.core.errors import UserError
from tests.helpers.ablations import ablation_config, planned_ablation

SUBSETS = {"kind": "teacher_subsets"}


def of_many(count: int, **design: Any) -> Any:
    datasets = {f"d{i}": {"source": "digits"} for i in range(count)}
    return ablation_config(SUBSETS | design, datasets=datasets)


def test_every_subset_of_a_few_teachers_has_an_arm() -> None:
    arms = arms_of(ablation_config(SUBSETS))

    assert {arm.name: dict(arm.params) for arm in arms} == {
        "all teachers": {},
        "teachers one+two": {"joint_teacher.teachers": ["one", "two"]},
        "teachers one+three": {"joint_teacher.teachers": ["one", "three"]},
        "teachers two+three": {"joint_teacher.teachers": ["two", "three"]},
        "teacher one": {"joint_teacher.teachers": ["one"]},
        "teacher two": {"joint_teacher.teachers": ["two"]},
        "teacher three": {"joint_teacher.teachers": ["three"]},
        "no teacher": {"method": "none"},
    }
    assert [arm.name for arm in arms if arm.is_reference] == ["all teachers"]


def test_only_the_teachers_of_the_lineup_are_left_out() -> None:
    fusion = {"teachers": ["three", "one"]}

    arms = arms_of(ablation_config(SUBSETS, joint_teacher=fusion))

    names = ["all teachers", "teacher three", "teacher one", "no teacher"]
    assert [arm.name for arm in arms] == names


def test_five_teachers_have_thirty_two_arms() -> None:
    assert len(arms_of(of_many(5, permutations=2), "d0")) == 32


def test_of_more_teachers_sampled_orders_are_gone_through_and_each_is_left_out_once() -> None:
    plan = subset_plan(of_many(7, permutations=6), "d0")

    assert len(plan.orders) == 6
    for order, reverse in zip(plan.orders[::2], plan.orders[1::2], strict=True):
        assert reverse == order[::-1]
        assert set(order) == set(plan.teachers)
    prefixes = {frozenset(order[:size]) for order in plan.orders for size in range(8)}
    drop_one = {frozenset(plan.teachers) - {name} for name in plan.teachers}
    assert set(plan.subsets) == prefixes | drop_one
    assert len(plan.subsets) == len(set(plan.subsets))
    assert all(len(larger) >= len(smaller) for larger, smaller in pairwise(plan.subsets))


def test_the_orders_are_those_of_the_seed_for_every_dataset() -> None:
    config = of_many(7)

    orders = subset_plan(config, "d0").orders

    assert subset_plan(config, "d1").orders == orders
    assert subset_plan(config.model_copy(update={"seed": 1}), "d0").orders != orders


def test_no_teacher_or_features_are_computed_for_a_subset_alone(tmp_path: Path) -> None:
    ablation = planned_ablation(tmp_path, SUBSETS, targets=["one", "two"], seeds=2)

    stages = Counter(stage.stage_name for stage in ablation.plan())

    assert stages == {
        "dataset": 3,
        "teacher": 3,
        "features": 3 * 2,
        "joint_teacher": 7 * 2,
        "targets": 7 * 2,
    }


def test_unic_leaves_out_its_own_teachers() -> None:
    arms = arms_of(ablation_config(SUBSETS, method="unic", unic={"teachers": ["one", "two"]}))

    assert {arm.name: dict(arm.params) for arm in arms} == {
        "all teachers": {},
        "teacher one": {"unic.teachers": ["one"]},
        "teacher two": {"unic.teachers": ["two"]},
        "no teacher": {"method": "none"},
    }


@pytest.mark.parametrize("method", ["none", "kd", "own_teacher", "joint_teacher", "multi_head"])
def test_a_method_that_does_not_teach_by_several_is_refused(method: str) -> None:
    with pytest.raises(UserError, match=rf"design.kind: .*method '{method}'.*allowed: mlfd, unic"):
        arms_of(ablation_config(SUBSETS, method=method))


def test_one_teacher_has_no_subsets() -> None:
    with pytest.raises(UserError, match=r"needs two teachers or more, and .* has two alone"):
        arms_of(ablation_config(SUBSETS, joint_teacher={"teachers": ["two"]}))
