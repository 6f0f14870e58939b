"""`teacher_subsets`: the base with some of its teachers, to see what each contributes."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from mlfd_tune.ablation.designs.arm import Arm
from mlfd_tune.ablation.designs.lineup import lineup_of
from mlfd_tune.config import AblationConfig, pipeline_settings
from mlfd_tune.core.errors import UserError
from mlfd_tune.core.methods import METHODS
from mlfd_tune.core.seeding import derive_seed

__all__ = ["EXACT_UP_TO", "SubsetPlan", "arm_name", "subset_plan", "teacher_subsets"]

EXACT_UP_TO = 5
"""Teachers of which every subset has an arm; that is 32 arms."""

Subset = frozenset[str]


@dataclass(frozen=True)
class SubsetPlan:
    """Which subsets of the teachers have an arm.

    Attributes:
        key: The dotted key that chooses the teachers.
        teachers: All of them.
        subsets: Those with an arm, the full set and the empty one among them.
        orders: The orders of the teachers that were sampled; none where every subset has an arm.
    """

    key: str
    teachers: tuple[str, ...]
    subsets: tuple[Subset, ...]
    orders: tuple[tuple[str, ...], ...]


def teacher_subsets(config: AblationConfig, dataset: str) -> list[Arm]:
    """An arm for every subset of the plan; the full set is the base and the reference."""
    plan = subset_plan(config, dataset)
    return [
        Arm(arm_name(plan, subset), _params(plan, subset), len(subset) == len(plan.teachers))
        for subset in plan.subsets
    ]


def subset_plan(config: AblationConfig, dataset: str) -> SubsetPlan:
    """Return which subsets of a target's teachers are tried.

    Up to `EXACT_UP_TO` teachers, all. Beyond, those that `design.permutations` random orders of the
    teachers go through when one teacher after the other is added, and the full set without each
    one. Each second order is the reverse of the one before: a teacher that came early comes late,
    which evens out what its place does (Mitchell et al., Sampling Permutations for Shapley Value
    Estimation, 2022). The orders depend on the configuration's `seed` and the teachers alone.

    Raises:
        UserError: The method fuses no teachers, or there is one only.
    """
    method = METHODS[config.method]
    lineup = lineup_of(pipeline_settings(config), dataset)
    if lineup is None or method.role != "method":
        fitting = [
            name
            for name, kind in METHODS.items()
            if kind.role == "method"
            and lineup_of(config.model_copy(update={"method": name}), dataset) is not None
        ]
        raise UserError(
            f"design.kind: teacher_subsets leaves out teachers of a student that learns from "
            f"several, and method {config.method!r} teaches none so (allowed: {', '.join(fitting)})"
        )
    key, teachers = lineup
    if len(teachers) < 2:
        raise UserError(
            f"design.kind: teacher_subsets needs two teachers or more, and {key} has {teachers[0]} "
            "alone"
        )
    if len(teachers) <= EXACT_UP_TO:
        subsets = [
            frozenset(chosen)
            for size in range(len(teachers), -1, -1)
            for chosen in itertools.combinations(teachers, size)
        ]
        return SubsetPlan(key, teachers, tuple(subsets), ())
    orders = _orders(teachers, config.design.permutations, config.seed)
    full = frozenset(teachers)
    prefixes = [frozenset(order[:size]) for order in orders for size in range(len(order) + 1)]
    distinct = dict.fromkeys([*prefixes, *(full - {name} for name in teachers)])
    by_size = sorted(distinct, key=len, reverse=True)
    return SubsetPlan(key, teachers, tuple(by_size), orders)


def arm_name(plan: SubsetPlan, subset: Subset) -> str:
    """Return the name of a subset's arm."""
    if len(subset) == len(plan.teachers):
        return "all teachers"
    if not subset:
        return "no teacher"
    names = [name for name in plan.teachers if name in subset]
    return f"teacher{'s' if len(names) > 1 else ''} {'+'.join(names)}"


def _params(plan: SubsetPlan, subset: Subset) -> dict[str, Any]:
    if len(subset) == len(plan.teachers):
        return {}
    if not subset:
        return {"method": "none"}
    return {plan.key: [name for name in plan.teachers if name in subset]}


def _orders(teachers: Sequence[str], count: int, seed: int) -> tuple[tuple[str, ...], ...]:
    generator = np.random.default_rng(derive_seed(seed, "ablation", "", "orders of teachers"))
    orders = []
    for _ in range(count // 2):
        order = tuple(teachers[i] for i in generator.permutation(len(teachers)))
        orders += [order, order[::-1]]
    return tuple(orders)
