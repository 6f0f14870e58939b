"""How a sweep searches: budget, sampler, early stopping, and the points to try first."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field, model_validator

from mlfd_tune.config.distributions import FloatRange
from mlfd_tune.config.messages import ListedError
from mlfd_tune.config.space import SearchSpace
from mlfd_tune.core.errors import allowed_values
from mlfd_tune.core.spec import Spec

__all__ = ["SamplerName", "SchedulerName", "SearchSettings"]

SamplerName = Literal["tpe", "random", "gp", "cmaes", "nsgaii", "grid"]
SchedulerName = Literal["asha", "hyperband", "median", "none"]


class SearchSettings(Spec):
    """How each target dataset's study searches."""

    trials: int = Field(ge=1, description="Trials of each dataset.")
    sampler: SamplerName = Field(
        default="tpe",
        description="What proposes the next point; `grid` tries every point of the space.",
    )
    startup_trials: int = Field(
        default=10, ge=0, description="Random trials before `tpe`, `gp` and `cmaes` use a model."
    )
    scheduler: SchedulerName = Field(
        default="asha", description="What stops poor trials early; `none` lets all run to the end."
    )
    grace_epochs: int = Field(
        default=1, ge=1, description="Epochs every trial may run before it can be stopped."
    )
    reduction_factor: int = Field(
        default=3, ge=2, description="One in this many trials goes on at each rung."
    )
    metric: Literal["val/acc1"] = Field(
        default="val/acc1", description="What is maximised: top-1 accuracy on validation, in %."
    )
    first_points: tuple[dict[str, Any], ...] = Field(
        default=(),
        description="Points tried before the sampler proposes any. A point may name some of the "
        "keys; the rest are sampled.",
    )
    space: SearchSpace = Field(description="The keys that are varied and over which values.")

    @model_validator(mode="after")
    def _check_first_points(self) -> SearchSettings:
        problems = [
            f"first_points[{i}]: {problem}"
            for i, point in enumerate(self.first_points)
            for problem in _problems_of_point(point, self.space)
        ]
        if len(self.first_points) > self.trials:
            problems.append(
                f"first_points: {len(self.first_points)} points, but only {self.trials} trials"
            )
        if problems:
            raise ListedError(*problems)
        return self

    @model_validator(mode="after")
    def _check_grid(self) -> SearchSettings:
        if self.sampler != "grid":
            return self
        endless = [
            key
            for key, distribution in self.space.ordered()
            if isinstance(distribution, FloatRange) and distribution.step is None
        ]
        if endless:
            raise ValueError(f"sampler grid needs a step for every float: {', '.join(endless)}")
        return self


def _problems_of_point(point: dict[str, Any], space: SearchSpace) -> list[str]:
    problems = []
    for key, value in point.items():
        if key not in space:
            problems.append(f"{key!r} is not in the space {allowed_values(key, space.root)}")
        elif not space[key].contains(value):
            problems.append(f"{key} cannot be {value!r} (allowed: {space[key].allowed()})")
    return problems
