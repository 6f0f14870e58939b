"""Designs: which arms are compared, and which of them is the reference."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from mlfd_tune.config import DesignSettings

__all__ = ["DESIGNS", "Arm", "arms_of"]


@dataclass(frozen=True)
class Arm:
    """One arm of an ablation.

    Attributes:
        name: What tells it from the others, such as ``levels=L1, alpha=0.6``.
        params: Values by dotted key, over the experiment's own.
        is_reference: Whether the others are compared with it.
    """

    name: str
    params: Mapping[str, Any]
    is_reference: bool


def arms_of(design: DesignSettings) -> list[Arm]:
    """Return the arms of a design, the reference first."""
    arms = DESIGNS[design.kind](design)
    return sorted(arms, key=lambda arm: not arm.is_reference)


def _grid(design: DesignSettings) -> list[Arm]:
    """Every combination; the reference has each factor's first value unless named."""
    keys = list(design.factors)
    first = {key: values[0] for key, values in design.factors.items()}
    reference = {key: _plain(design.reference.get(key, first[key])) for key in keys}
    arms = []
    for values in itertools.product(*design.factors.values()):
        params = {key: _plain(value) for key, value in zip(keys, values, strict=True)}
        # Where nothing but methods is compared, their names say enough.
        name = str(params["method"]) if keys == ["method"] else _name(params)
        arms.append(Arm(name, params, params == reference))
    return arms


def _one_at_a_time(design: DesignSettings) -> list[Arm]:
    """The base, and the base with one factor changed."""
    base = {key: _plain(value) for key, value in design.reference.items()}
    arms = [Arm("base", base, True)]
    for key, values in design.factors.items():
        for value in values:
            params = base | {key: _plain(value)}
            if params != base:
                arms.append(Arm(_name({key: _plain(value)}), params, False))
    return arms


def _compare(design: DesignSettings) -> list[Arm]:
    """The arms named; the first is the reference."""
    first = next(iter(design.arms))
    return [
        Arm(name, {key: _plain(value) for key, value in params.items()}, name == first)
        for name, params in design.arms.items()
    ]


DESIGNS: dict[str, Callable[[DesignSettings], list[Arm]]] = {
    "grid": _grid,
    "one_at_a_time": _one_at_a_time,
    "compare": _compare,
}


def _name(params: Mapping[str, Any]) -> str:
    # The last part of a key tells factors apart unless two end alike.
    short = [key.rsplit(".", 1)[-1] for key in params]
    keys = short if len(set(short)) == len(short) else list(params)
    return ", ".join(
        f"{key}={_shown(value)}" for key, value in zip(keys, params.values(), strict=True)
    )


def _shown(value: Any) -> str:
    return "+".join(map(str, value)) if isinstance(value, list) else str(value)


def _plain(value: Any) -> Any:
    return list(value) if isinstance(value, tuple) else value
