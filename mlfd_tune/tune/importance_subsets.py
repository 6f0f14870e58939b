"""Judging each parameter among the points in which it exists.

The coefficient of a level exists only where that level is fused. Optuna's evaluators and a forest
want every parameter in every point, so a parameter is judged on the points that have it, together
with whatever else all of those have; and a pair of parameters on the points that have both.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from mlfd_tune.tune.importance import Importance, Interaction, Marginal
from mlfd_tune.tune.importance_evaluators import EVALUATORS
from mlfd_tune.tune.importance_forest import Forest
from mlfd_tune.tune.importance_space import Parameter
from mlfd_tune.tune.rung_trials import FEWEST, Point, RungTrials

__all__ = ["Judged", "judge"]

_BAND = (10, 90)  # percentiles over trees

Held = frozenset[int]  # places of points


@dataclass(frozen=True)
class Judged:
    """What is said of one study.

    Attributes:
        importances: As in the report.
        marginals: As in the report.
        interactions: As in the report.
        some: By parameter that exists in only some of the points: in how many.
        explained: R² of the forest of the largest set of points, on points left out of its trees.
    """

    importances: tuple[Importance, ...]
    marginals: tuple[Marginal, ...]
    interactions: tuple[Interaction, ...]
    some: Mapping[str, int]
    explained: float


def judge(trials: RungTrials) -> Judged:
    """Judge all parameters of one study at one rung."""
    held = {
        name: frozenset(i for i, p in enumerate(trials.points) if name in p.params)
        for name in sorted(trials.distributions)
    }
    subsets = _Subsets(trials, held)
    interactions = sorted(_interactions(subsets), key=lambda one: -one.strength)
    most = subsets.of(max(held, key=lambda name: len(held[name])))
    return Judged(
        tuple(_importances(subsets)),
        tuple(_marginals(subsets)),
        tuple(interactions),
        {name: len(places) for name, places in held.items() if len(places) < len(trials.points)},
        most.forest.explained if most else 0.0,
    )


class _Subset:
    """Points that are judged together."""

    def __init__(self, points: list[Point], parameters: list[Parameter]) -> None:
        self.points, self.parameters = points, parameters

    @cached_property
    def forest(self) -> Forest:
        return Forest(self.points, self.parameters)

    def varies(self, name: str) -> bool:
        return any(p.name == name and p.varies for p in self.parameters)


class _Subsets:
    """The sets of points that some parameters exist in, made once each."""

    def __init__(self, trials: RungTrials, held: dict[str, Held]) -> None:
        self.trials, self.held = trials, held
        self._made: dict[Held, _Subset] = {}

    def of(self, *names: str) -> _Subset | None:
        """Return the points that have all of these, or None if there are too few."""
        places = frozenset.intersection(*(self.held[name] for name in names))
        if len(places) < FEWEST:
            return None
        if places not in self._made:
            points = [self.trials.points[i] for i in sorted(places)]
            parameters = [
                Parameter.of(name, self.trials.distributions[name], points)
                for name, own in self.held.items()
                if own >= places
            ]
            self._made[places] = _Subset(points, parameters)
        return self._made[places]


def _importances(subsets: _Subsets) -> Iterator[Importance]:
    together: dict[Held, list[str]] = {}
    for name, places in subsets.held.items():
        together.setdefault(places, []).append(name)
    for evaluator, shares_of in EVALUATORS.items():
        for names in sorted(together.values(), key=lambda names: -len(subsets.held[names[0]])):
            subset = subsets.of(*names)
            if subset is not None:
                shares = shares_of(subset.points, subset.parameters)
                own = {name: share for name, share in shares.items() if name in names}
                yield Importance(
                    subsets.trials.dataset, evaluator, subsets.trials.rung, len(subset.points), own
                )


def _marginals(subsets: _Subsets) -> Iterator[Marginal]:
    for name in subsets.held:
        subset = subsets.of(name)
        if subset is None or not subset.varies(name):
            continue
        parameter = next(p for p in subset.parameters if p.name == name)
        grid, predicted = subset.forest.marginal(name)
        low, high = np.percentile(predicted, _BAND, axis=0)
        yield Marginal(
            subsets.trials.dataset,
            name,
            tuple(parameter.value(number) for number in grid),
            tuple(predicted.mean(axis=0).tolist()),
            tuple(low.tolist()),
            tuple(high.tolist()),
        )


def _interactions(subsets: _Subsets) -> Iterator[Interaction]:
    for first, second in itertools.combinations(subsets.held, 2):
        subset = subsets.of(first, second)
        if subset is not None and subset.varies(first) and subset.varies(second):
            strength = subset.forest.interaction(first, second)
            yield Interaction(subsets.trials.dataset, first, second, strength)
