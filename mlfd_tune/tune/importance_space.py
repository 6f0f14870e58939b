"""Parameters as numbers: what a random forest sees, and the values at which it is asked.

Each parameter is one number, in its own scale: the decimal logarithm where it is searched on a
logarithmic scale, else the value itself; for a category its place among those that were tried.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
)

from mlfd_tune.tune.rung_trials import Point

__all__ = ["Encoding", "Parameter", "scaled_distribution", "scaled_params"]

Numbers = NDArray[np.float64]

_ROUNDED: Final = 12
"""Significant digits of grid values: steps of 0.1 are 0.3 and not 0.30000000000000004."""


@dataclass(frozen=True)
class Parameter:
    """One parameter.

    Attributes:
        name: Its dotted key.
        distribution: What it is drawn from.
        categories: Of a categorical one, the choices that were tried, in the space's order.
    """

    name: str
    distribution: BaseDistribution
    categories: tuple[Any, ...] = ()

    @classmethod
    def of(cls, name: str, distribution: BaseDistribution, points: Sequence[Point]) -> Parameter:
        """Return a parameter that exists in all of the points.

        A choice that none of them has is left out: nothing is known of it.
        """
        if not isinstance(distribution, CategoricalDistribution):
            return cls(name, distribution)
        tried = {distribution.to_internal_repr(point.params[name]) for point in points}
        categories = tuple(c for i, c in enumerate(distribution.choices) if i in tried)
        return cls(name, distribution, categories)

    @property
    def is_category(self) -> bool:
        """Whether it has choices in place of numbers."""
        return isinstance(self.distribution, CategoricalDistribution)

    @property
    def is_log(self) -> bool:
        """Whether it is searched on a logarithmic scale."""
        return bool(getattr(self.distribution, "log", False))

    @property
    def varies(self) -> bool:
        """Whether there is anything to compare."""
        return len(self.categories) > 1 if self.is_category else not self.distribution.single()

    def number(self, value: Any) -> float:
        """Return a value as its number."""
        if self.is_category:
            return float(self.categories.index(value))
        return math.log10(value) if self.is_log else float(value)

    def value(self, number: float) -> Any:
        """Return what a number of `grid` stands for."""
        if self.is_category:
            return self.categories[round(number)]
        value = 10**number if self.is_log else number
        if isinstance(self.distribution, IntDistribution):
            return round(value)
        return float(f"{value:.{_ROUNDED}g}")

    def bounds(self) -> tuple[float, float]:
        """Return the lowest and the highest number."""
        if self.is_category:
            return 0.0, float(len(self.categories) - 1)
        return self.number(self._range.low), self.number(self._range.high)

    def grid(self, most: int) -> Numbers:
        """Return the numbers at which it is looked at, evenly spread in its scale.

        Args:
            most: How many there are at most; categories are never left out.
        """
        if self.is_category:
            return np.arange(len(self.categories), dtype=float)
        low, high = self.bounds()
        if isinstance(self.distribution, FloatDistribution) and self.distribution.step is None:
            return np.linspace(low, high, most)
        step = self._range.step or 1
        steps = round((self._range.high - self._range.low) / step)
        if self.is_log:  # whole numbers, evenly spread in their logarithm
            wanted = np.unique(np.rint(10 ** np.linspace(low, high, min(most, steps + 1))))
            return np.asarray(np.log10(wanted), dtype=float)
        chosen = np.unique(np.rint(np.linspace(0, steps, min(most, steps + 1))))
        return low + step * chosen

    def draws(self, quantiles: Numbers) -> Numbers:
        """Return the numbers at quantiles of a uniform draw from the parameter's scale."""
        if self.is_category:
            return np.minimum(
                np.floor(quantiles * len(self.categories)), len(self.categories) - 1.0
            )
        low, high = self.bounds()
        return low + quantiles * (high - low)

    @property
    def _range(self) -> FloatDistribution | IntDistribution:
        assert isinstance(self.distribution, FloatDistribution | IntDistribution)
        return self.distribution


class Encoding:
    """Points as the rows of a matrix, with a column for each number and for each category.

    Args:
        parameters: The parameters, which exist in all points.
    """

    def __init__(self, parameters: Sequence[Parameter]) -> None:
        self.parameters = tuple(parameters)

    def numbers(self, points: Sequence[Point]) -> Numbers:
        """Return points as their numbers, (points, parameters)."""
        rows = [[p.number(point.params[p.name]) for p in self.parameters] for point in points]
        return np.array(rows, dtype=float).reshape(len(points), len(self.parameters))

    def columns(self, numbers: Numbers) -> NDArray[np.float32]:
        """Return (rows, parameters) numbers as (rows, columns): a column for every category."""
        parts = [
            (column[:, None] == np.arange(len(parameter.categories)))
            if parameter.is_category
            else column[:, None]
            for parameter, column in zip(self.parameters, numbers.T, strict=True)
        ]
        return np.concatenate(parts, axis=1).astype(np.float32)

    def spread(self, rows: int) -> Numbers:
        """Return numbers spread evenly over the whole space, (rows, parameters).

        A Latin hypercube, always the same: each parameter alone has its quantiles exactly once.
        """
        draw = np.random.default_rng(0)
        middles = (np.arange(rows) + 0.5) / rows
        drawn = [parameter.draws(draw.permutation(middles)) for parameter in self.parameters]
        return np.stack(drawn, axis=1)


def scaled_distribution(parameter: Parameter) -> BaseDistribution:
    """Return what a parameter is drawn from, in its own scale, without choices nobody tried.

    Optuna's fANOVA weighs all values of a range alike, also of one searched on a logarithmic scale:
    nine tenths of the weight would lie on the last of several decades.
    """
    if parameter.is_category:
        return CategoricalDistribution(parameter.categories)
    return FloatDistribution(*parameter.bounds()) if parameter.is_log else parameter.distribution


def scaled_params(parameters: Sequence[Parameter], point: Point) -> Mapping[str, Any]:
    """Return a point's values as `scaled_distribution` has them."""
    return {
        p.name: p.number(point.params[p.name]) if p.is_log else point.params[p.name]
        for p in parameters
    }
