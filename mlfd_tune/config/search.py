"""How a sweep searches: budget, sampler, early stopping, spaces, and the points to try first."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from typing import Any, ClassVar, Literal

from pydantic import Field, ValidationInfo, field_validator, model_validator

from mlfd_tune.config.distributions import FloatRange
from mlfd_tune.config.messages import ListedError
from mlfd_tune.config.space import SearchSpace
from mlfd_tune.core.errors import UserError, allowed_values
from mlfd_tune.core.spec import Spec

__all__ = ["OwnSearch", "SamplerName", "SchedulerName", "SearchSettings", "StudySettings"]

SamplerName = Literal["tpe", "random", "gp", "cmaes", "nsgaii", "grid"]
SchedulerName = Literal["asha", "hyperband", "median", "none"]

Points = tuple[dict[str, Any], ...]


class OwnSearch(Spec):
    """What one target dataset searches in its own way. What is not said here is as for all."""

    space: SearchSpace | None = Field(
        default=None, description="Stands in place of `search.space`, as a whole."
    )
    first_points: Points | None = Field(
        default=None, description="Stand in place of `search.first_points`; `[]` for none."
    )


class SearchSettings(Spec):
    """How each target dataset's study searches."""

    added_later: ClassVar[frozenset[str]] = frozenset({"rank_levels", "datasets"})

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
    first_points: Points = Field(
        default=(),
        description="Points tried before the sampler proposes any. A point may name some of the "
        "keys; the rest are sampled.",
    )
    rank_levels: bool = Field(
        default=False,
        description="Before anything is trained jointly, rank the levels of the space from the "
        "teachers' features (as `mlfd-tune layers` does) and try the best first.",
    )
    datasets: dict[str, OwnSearch] = Field(
        default={}, description="Per target dataset: a space and first points of its own."
    )
    space: SearchSpace | None = Field(
        default=None,
        description="The keys that are varied and over which values; needed unless every target "
        "has a space of its own in `datasets`.",
    )

    @field_validator("space")
    @classmethod
    def _there_is_a_space(
        cls, space: SearchSpace | None, info: ValidationInfo
    ) -> SearchSpace | None:
        own = info.data.get("datasets")  # not there if it is itself wrong
        if space is None and own is not None and all(one.space is None for one in own.values()):
            raise ValueError(
                "this key is needed, or a space for every target in search.datasets.<dataset>.space"
            )
        return space

    @model_validator(mode="after")
    def _points_and_grids_fit_the_spaces(self) -> SearchSettings:
        problems = [
            *_too_many(self.first_points, self.trials),
            *(_not_in(self.space, self.first_points) if self.space else ()),
            *self._endless(self.space),
        ]
        for dataset, own in self.datasets.items():
            at, space = f"datasets.{dataset}", own.space or self.space
            problems += [f"{at}.space: {problem}" for problem in self._endless(own.space)]
            if own.first_points is not None:
                found = [*_too_many(own.first_points, self.trials)]
                found += _not_in(space, own.first_points) if space else ()
                problems += [f"{at}.{problem}" for problem in found]
            elif own.space is not None:
                problems += [
                    f"{at}: search.{problem}; give it first_points of its own, [] for none"
                    for problem in _not_in(own.space, self.first_points)
                ]
        if problems:
            raise ListedError(*problems)
        return self

    def space_of(self, dataset: str) -> SearchSpace:
        """Return the space of a target dataset: its own, or that of all.

        Raises:
            UserError: It has none.
        """
        own = self.datasets.get(dataset, OwnSearch()).space
        space = self.space if own is None else own
        if space is None:
            raise UserError(
                f"search.datasets.{dataset}.space: this key is needed, or search.space for all"
            )
        return space

    def points_of(self, dataset: str) -> Points:
        """Return the first points of a target dataset: its own, or those of all."""
        own = self.datasets.get(dataset, OwnSearch()).first_points
        return self.first_points if own is None else own

    def place_of_space(self, dataset: str) -> str:
        """Return the dotted key where the space of a target dataset stands."""
        has_own = self.datasets.get(dataset, OwnSearch()).space is not None
        return f"search.datasets.{dataset}.space" if has_own else "search.space"

    def study_of(self, dataset: str) -> StudySettings:
        """Return how one target dataset's study searches, without what others have of their own.

        Raises:
            UserError: It has no space.
        """
        values = {name: getattr(self, name) for name in SearchSettings.model_fields}
        values |= {
            "datasets": {},
            "space": self.space_of(dataset),
            "first_points": self.points_of(dataset),
        }
        return StudySettings.model_construct(**values)  # checked already

    def problems_with(self, datasets: Collection[str], targets: Collection[str]) -> list[str]:
        """Return what is wrong with these settings for an experiment's datasets.

        Args:
            datasets: All there are.
            targets: Those that get a student, and so a study.
        """
        problems = [
            f"search.datasets.{name}: unknown dataset {allowed_values(name, datasets)}"
            for name in self.datasets
            if name not in datasets
        ]
        for target in targets:
            try:
                self.space_of(target)
            except UserError as error:
                problems += error.problems
        return problems

    def _endless(self, space: SearchSpace | None) -> Iterator[str]:
        if self.sampler != "grid" or space is None:
            return
        endless = [
            key
            for key, distribution in space.ordered()
            if isinstance(distribution, FloatRange) and distribution.step is None
        ]
        if endless:
            yield f"sampler grid needs a step for every float: {', '.join(endless)}"


class StudySettings(SearchSettings):
    """How one target dataset's study searches."""

    space: SearchSpace = Field(description="The keys that are varied and over which values.")


def _too_many(points: Points, trials: int) -> Iterator[str]:
    if len(points) > trials:
        yield f"first_points: {len(points)} points, but only {trials} trials"


def _not_in(space: SearchSpace, points: Points) -> Iterator[str]:
    for i, point in enumerate(points):
        for key, value in point.items():
            where = f"first_points[{i}]"
            if key not in space:
                known = allowed_values(key, space.root)
                yield f"{where}: {key!r} is not in the space {known}"
            elif not space[key].contains(value):
                yield f"{where}: {key} cannot be {value!r} (allowed: {space[key].allowed()})"
