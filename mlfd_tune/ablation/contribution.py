"""How much each teacher contributes: Shapley values, and what is lost without it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from math import comb
from typing import TYPE_CHECKING

from mlfd_tune.ablation.designs.teacher_subsets import SubsetPlan, arm_name, subset_plan
from mlfd_tune.config import AblationConfig
from mlfd_tune.core.statistics import Interval, mean_interval

if TYPE_CHECKING:
    from mlfd_tune.ablation.arm_rows import ArmRow

__all__ = ["Contribution", "contributions"]

Subset = frozenset[str]
Worth = Callable[[Subset], float]
"""The accuracy with a subset of the teachers, of one seed."""


@dataclass(frozen=True)
class Contribution:
    """What one teacher contributes to one dataset's student, in percentage points.

    Both are means of differences paired by seed, with Student t intervals as such differences have
    everywhere. The intervals speak of new seeds; where orders were sampled, not of other orders.

    Attributes:
        dataset: The target dataset.
        teacher: The dataset whose teacher it is.
        shapley: Mean Shapley value over seeds. Those of all teachers sum to what they gain
            together over none.
        drop_one: Mean of what all teachers gain over all but this one.
        n: Seeds that have every arm.
        sampled: Whether the Shapley value is a mean over sampled orders of the teachers.
        left_out: Seeds that lack an arm.
    """

    dataset: str
    teacher: str
    shapley: Interval
    drop_one: Interval
    n: int
    sampled: bool
    left_out: int = 0


def contributions(config: AblationConfig, rows: Sequence[ArmRow]) -> list[Contribution]:
    """Return what every teacher contributes to every target dataset.

    With ``v(S)`` the accuracy of the students that learn from the teachers ``S`` of ``n``, on one
    seed, a teacher's Shapley value is (Shapley, A Value for n-Person Games, 1953)

    ``phi_i = sum over S without i of |S|! (n - |S| - 1)! / n! * (v(S + i) - v(S))``,

    the mean over all orders of the teachers of what it adds to those before it; for more than five
    teachers, the mean over the sampled orders. Both are computed seed by seed, so that what the
    seed alone does is gone from them, and then averaged.

    Args:
        config: The ablation.
        rows: Its arms.

    Returns:
        By dataset and teacher; none unless the design is ``teacher_subsets``, and none for a
        dataset without a seed that has every arm.
    """
    if config.design.kind != "teacher_subsets":
        return []
    found: list[Contribution] = []
    for dataset in config.target_names:
        plan = subset_plan(config, dataset)
        by_arm = {row.arm: row.values for row in rows if row.dataset == dataset}
        found += _of_dataset(dataset, plan, by_arm)
    return found


def _of_dataset(
    dataset: str, plan: SubsetPlan, by_arm: Mapping[str, Mapping[str, float]]
) -> Iterator[Contribution]:
    values = {subset: by_arm.get(arm_name(plan, subset), {}) for subset in plan.subsets}
    seen = dict.fromkeys(seed for of_arm in values.values() for seed in of_arm)
    seeds = [seed for seed in seen if all(seed in of_arm for of_arm in values.values())]
    if not seeds:
        return
    shapley: dict[str, list[float]] = {name: [] for name in plan.teachers}
    drop_one: dict[str, list[float]] = {name: [] for name in plan.teachers}
    full = frozenset(plan.teachers)
    for seed in seeds:
        worth = {subset: of_arm[seed] for subset, of_arm in values.items()}
        for name, value in _shapley(plan, worth.__getitem__).items():
            shapley[name].append(value)
            drop_one[name].append(worth[full] - worth[full - {name}])
    for name in plan.teachers:
        yield Contribution(
            dataset=dataset,
            teacher=name,
            shapley=mean_interval(shapley[name]),
            drop_one=mean_interval(drop_one[name]),
            n=len(seeds),
            sampled=bool(plan.orders),
            left_out=len(seen) - len(seeds),
        )


def _shapley(plan: SubsetPlan, worth: Worth) -> dict[str, float]:
    """Return every teacher's Shapley value on one seed, exact or over the sampled orders."""
    values = dict.fromkeys(plan.teachers, 0.0)
    n = len(plan.teachers)
    for order in plan.orders:
        for place, name in enumerate(order):
            before = frozenset(order[:place])
            values[name] += (worth(before | {name}) - worth(before)) / len(plan.orders)
    if not plan.orders:
        for name in plan.teachers:
            for subset in plan.subsets:
                if name not in subset:
                    # |S|! (n - |S| - 1)! / n!, in whole numbers as long as can be.
                    weight = 1 / (n * comb(n - 1, len(subset)))
                    values[name] += weight * (worth(subset | {name}) - worth(subset))
    return values
