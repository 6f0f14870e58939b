"""A random forest of a sweep's values, and what it says along one parameter and along two.

It is asked at points spread evenly over the whole space, as fANOVA integrates over it, and not at
the points that were tried, which lie close together where a sampler found good ones.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray
from sklearn.ensemble import RandomForestRegressor

from mlfd_tune.tune.importance_space import Encoding, Parameter
from mlfd_tune.tune.rung_trials import Point

__all__ = ["TREES", "Forest", "friedman_h"]

Numbers = NDArray[np.float64]

TREES: Final = 64
"""As many as Optuna's fANOVA has."""

_ROWS: Final = 128  # points of the space that all else is averaged over
_CURVE: Final = 21  # values along one parameter
_TABLE: Final = 7  # values along each of two
_MOVES: Final = 0.01


class Forest:
    """A random forest fitted to points, always the same for the same points.

    Args:
        points: At least two.
        parameters: Parameters that exist in all of them; at least one.
    """

    def __init__(self, points: Sequence[Point], parameters: Sequence[Parameter]) -> None:
        self._encoding = Encoding(parameters)
        self._places = {parameter.name: i for i, parameter in enumerate(parameters)}
        self._forest = RandomForestRegressor(
            n_estimators=TREES, oob_score=True, random_state=0, n_jobs=1
        )
        seen = self._encoding.columns(self._encoding.numbers(points))
        self._forest.fit(seen, np.array([point.value for point in points]))
        self._spread = self._encoding.spread(_ROWS)
        self._variance = float(np.var(self._forest.predict(self._encoding.columns(self._spread))))

    @property
    def explained(self) -> float:
        """R² on points left out: each is predicted by the trees that have not seen it.

        1 at best. At 0 and below, the parameters tell nothing of a value that is not known.
        """
        return float(self._forest.oob_score_) if self._variance else 0.0

    def marginal(self, name: str) -> tuple[Numbers, Numbers]:
        """Return the grid of a parameter, (g,), and what each tree predicts there, (trees, g)."""
        place = self._places[name]
        grid = self._encoding.parameters[place].grid(_CURVE)
        asked = self._asked([place], grid[:, None])
        predicted = np.stack([tree.predict(asked) for tree in self._forest.estimators_])
        return grid, predicted.reshape(len(predicted), len(grid), _ROWS).mean(axis=2)

    def interaction(self, first: str, second: str) -> float:
        """Return Friedman's H of two parameters, or 0 where together they move next to nothing.

        Below a hundredth of the variance of all predictions, the ratio is one of noise to noise.
        """
        places = [self._places[first], self._places[second]]
        one, other = (self._encoding.parameters[place].grid(_TABLE) for place in places)
        pairs = np.stack(np.meshgrid(one, other, indexing="ij"), axis=2).reshape(-1, 2)
        predicted = self._forest.predict(self._asked(places, pairs))
        table = predicted.reshape(len(one), len(other), _ROWS).mean(axis=2)
        return friedman_h(table) if np.var(table) > _MOVES * self._variance else 0.0

    def _asked(self, places: Sequence[int], grid: Numbers) -> NDArray[np.float32]:
        """Return the spread points with some parameters at each row of a grid, grid row by row."""
        rows = np.repeat(self._spread[None], len(grid), axis=0)
        rows[:, :, places] = grid[:, None, :]
        return self._encoding.columns(rows.reshape(-1, rows.shape[2]))


def friedman_h(table: Numbers) -> float:
    """Return Friedman's H of a partial dependence on two parameters, (values, values).

    Its square is the share of the table's variance that rows and columns do not sum up to: Eq. 44
    of Friedman and Popescu, *Predictive learning via rule ensembles* (2008), over the cells of a
    grid in place of the points that were tried.
    """
    centred = table - table.mean()
    rest = centred - centred.mean(axis=0, keepdims=True) - centred.mean(axis=1, keepdims=True)
    total = float((centred**2).sum())
    return float(np.sqrt((rest**2).sum() / total)) if total > 0 else 0.0
