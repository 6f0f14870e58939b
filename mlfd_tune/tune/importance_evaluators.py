"""Optuna's importance evaluators on a study that is rebuilt from the values at one rung."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

import optuna
from optuna.distributions import BaseDistribution
from optuna.importance import FanovaImportanceEvaluator, PedAnovaImportanceEvaluator

from mlfd_tune.tune.importance_forest import TREES
from mlfd_tune.tune.importance_space import Parameter, scaled_distribution, scaled_params
from mlfd_tune.tune.rung_trials import Point
from mlfd_tune.tune.storage import quiet_optuna

__all__ = ["EVALUATORS", "fanova", "ped_anova"]

_BEST: Final = 0.1  # Optuna's own share of trials that count as the best
_AT_LEAST: Final = 5  # its documentation asks for so many of them
_AT_MOST: Final = 0.5


def fanova(points: Sequence[Point], parameters: Sequence[Parameter]) -> dict[str, float]:
    """Return the share of a random forest's variance that each parameter alone is owed.

    Args:
        points: What was tried, each point once.
        parameters: Parameters that exist in all of the points.

    Returns:
        Share by parameter, 0 to 1, the largest first. They sum to 1 or less.
    """
    study = _rebuilt(
        points,
        {parameter.name: scaled_distribution(parameter) for parameter in parameters},
        lambda point: scaled_params(parameters, point),
    )
    evaluator = FanovaImportanceEvaluator(n_trees=TREES, seed=0)
    try:
        with quiet_optuna():
            shares = evaluator.evaluate(study)
    except (
        RuntimeError
    ):  # no tree splits: the values are all equal, or no parameter tells any apart
        shares = dict.fromkeys((parameter.name for parameter in parameters), 0.0)
    return _largest_first(shares)


def ped_anova(points: Sequence[Point], parameters: Sequence[Parameter]) -> dict[str, float]:
    """Return how differently each parameter is distributed among the best points and among all.

    The best are a tenth of the points, five at least, and half of them at most.

    Args:
        points: What was tried, each point once.
        parameters: Parameters that exist in all of the points.

    Returns:
        Share of the sum over parameters, the largest first; all 0 where all values are equal.
    """
    study = _rebuilt(
        points,
        {parameter.name: parameter.distribution for parameter in parameters},
        lambda point: {parameter.name: point.params[parameter.name] for parameter in parameters},
    )
    if len({point.value for point in points}) == 1:  # then there are no best ones
        return dict.fromkeys((parameter.name for parameter in parameters), 0.0)
    best = min(max(_BEST, _AT_LEAST / len(points)), _AT_MOST)
    with quiet_optuna():
        divergences = PedAnovaImportanceEvaluator(target_quantile=best).evaluate(study)
    total = sum(divergences.values())
    return _largest_first({name: d / total if total else 0.0 for name, d in divergences.items()})


EVALUATORS: Final = {"fanova": fanova, "ped_anova": ped_anova}
"""Every evaluator by its name in an `Importance`."""


def _rebuilt(
    points: Sequence[Point],
    distributions: Mapping[str, BaseDistribution],
    params_of: Callable[[Point], Mapping[str, Any]],
) -> optuna.Study:
    with quiet_optuna():
        study = optuna.create_study(direction="maximize")
        study.add_trials(
            optuna.trial.create_trial(
                params=dict(params_of(point)), distributions=dict(distributions), value=point.value
            )
            for point in points
        )
    return study


def _largest_first(shares: Mapping[str, float]) -> dict[str, float]:
    ordered = sorted(shares.items(), key=lambda item: (-item[1], item[0]))
    return {name: float(share) for name, share in ordered}
