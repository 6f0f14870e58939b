"""`grid` and `one_at_a_time`: factors, each with a few values."""

from __future__ import annotations

import itertools

from mlfd_tune.ablation.designs.arm import Arm, name_of, plain
from mlfd_tune.config import AblationConfig

__all__ = ["grid", "one_at_a_time"]


def grid(config: AblationConfig, dataset: str) -> list[Arm]:
    """Every combination; the reference has each factor's first value unless named."""
    design = config.design.of(dataset)
    keys = list(design.factors)
    first = {key: values[0] for key, values in design.factors.items()}
    reference = {key: plain(design.reference.get(key, first[key])) for key in keys}
    arms = []
    for values in itertools.product(*design.factors.values()):
        params = {key: plain(value) for key, value in zip(keys, values, strict=True)}
        # Where nothing but methods is compared, their names say enough.
        name = str(params["method"]) if keys == ["method"] else name_of(params)
        arms.append(Arm(name, params, params == reference))
    return arms


def one_at_a_time(config: AblationConfig, dataset: str) -> list[Arm]:
    """The base, and the base with one factor changed."""
    design = config.design.of(dataset)
    base = {key: plain(value) for key, value in design.reference.items()}
    arms = [Arm("base", base, True)]
    for key, values in design.factors.items():
        for value in values:
            params = base | {key: plain(value)}
            if params != base:
                arms.append(Arm(name_of({key: plain(value)}), params, False))
    return arms
