"""Drawing points from a search space: by an Optuna trial, or all of them for a grid."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from optuna.trial import BaseTrial

from mlfd_tune.config.distributions import Choice, FloatRange, IntRange, choice_text
from mlfd_tune.config.space import SearchSpace

__all__ = ["grid_points", "optuna_point", "sample"]


def sample(trial: BaseTrial, space: SearchSpace, base_levels: tuple[str, ...]) -> dict[str, Any]:
    """Draw one point, asking `trial` only for the parameters that exist in it.

    A parameter the trial already holds keeps its value, so a point half drawn when its process
    died is completed, and a frozen trial gives back the point it was run with.

    Args:
        trial: An Optuna trial; values come from its study's sampler.
        space: What may vary.
        base_levels: The fusion levels of a trial that does not draw them.

    Returns:
        Dotted key to value; lists are lists again.
    """
    chosen: dict[str, Any] = {}
    for key, distribution in space.ordered():
        if space.is_active(key, chosen, base_levels):
            chosen[key] = _suggest(trial, key, distribution)
    return chosen


def grid_points(space: SearchSpace, base_levels: tuple[str, ...]) -> Iterator[dict[str, Any]]:
    """Yield every point of the space once, without the parameters that do not exist in it.

    The last key varies fastest. Optuna's own grid sampler knows no conditions, hence this one.

    Raises:
        ValueError: If a float has no step.
    """
    yield from _extend({}, list(space.ordered()), space, base_levels)


def optuna_point(point: Mapping[str, Any]) -> dict[str, Any]:
    """Return the point as Optuna stores it: lists as JSON text."""
    return {key: choice_text(value) for key, value in point.items()}


def _suggest(trial: BaseTrial, key: str, distribution: FloatRange | IntRange | Choice) -> Any:
    match distribution:
        case FloatRange(float=(low, high), log=log, step=step):
            return float(trial.suggest_float(key, low, high, log=log, step=step))
        case IntRange(int=(low, high), log=log, step=step):
            return trial.suggest_int(key, low, high, log=log, step=step)
        case Choice():
            by_text = {choice_text(value): value for value in distribution.values()}
            return by_text[trial.suggest_categorical(key, list(by_text))]


def _extend(
    chosen: dict[str, Any],
    remaining: list[tuple[str, FloatRange | IntRange | Choice]],
    space: SearchSpace,
    base_levels: tuple[str, ...],
) -> Iterator[dict[str, Any]]:
    if not remaining:
        yield chosen
        return
    (key, distribution), *rest = remaining
    if not space.is_active(key, chosen, base_levels):
        yield from _extend(chosen, rest, space, base_levels)
        return
    for value in distribution.values():
        yield from _extend({**chosen, key: value}, rest, space, base_levels)
