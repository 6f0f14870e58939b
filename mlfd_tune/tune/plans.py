"""What one dataset's study is asked to do."""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import cached_property
from itertools import islice
from typing import Any

from mlfd_tune.config.distributions import choice_text
from mlfd_tune.config.search import StudySettings
from mlfd_tune.core.errors import UserError
from mlfd_tune.core.spec import canonical_json
from mlfd_tune.tune.first_points import first_points
from mlfd_tune.tune.space import grid_points

__all__ = ["StudyPlan"]


@dataclass(frozen=True)
class StudyPlan:
    """One dataset's part of a sweep.

    Args:
        dataset: The target dataset; also the study's name.
        settings: How to search, with the dataset's own space and first points.
        epochs: Of a trial that is not stopped.
        base_levels: The fusion levels of trials that do not draw them.
        seed: The sweep's seed.
        ranked: Values of `joint_teacher.levels`, the most promising first, to try early. Not part
            of what the study is: points that are queued stay, whatever a later ranking says.
    """

    dataset: str
    settings: StudySettings
    epochs: int
    base_levels: tuple[str, ...]
    seed: int
    ranked: tuple[str, ...] = ()

    @property
    def planned(self) -> int:
        """How many trials the study has in the end."""
        return len(self.queue) if self.settings.sampler == "grid" else self.settings.trials

    @cached_property
    def queue(self) -> list[dict[str, Any]]:
        """The points to try in this order before the sampler proposes any.

        For a grid, that is every point, those named as first points in front.

        Raises:
            UserError: If the grid has more points than there are trials, or lacks a first point.
        """
        first = first_points(self.settings, self.dataset, self.ranked)
        if self.settings.sampler != "grid":
            return first
        trials = self.settings.trials
        grid = list(islice(grid_points(self.settings.space, self.base_levels), trials + 1))
        if len(grid) > trials:
            raise UserError(
                f"trials: the grid of {self.dataset} has more than {trials} points "
                "(raise trials, narrow the space, or use another sampler)"
            )
        front = []
        for i, point in enumerate(first):
            match = next((p for p in grid if _agrees(p, point)), None)
            if match is None:
                if i >= len(self.settings.points_of(self.dataset)):
                    continue  # ranked levels whose only point a first point without levels took
                raise UserError(f"first_points[{i}]: {point} is not a point of the grid")
            grid.remove(match)
            front.append(match)
        return front + grid

    def as_json(self) -> dict[str, Any]:
        """Return the plan as it is kept in the storage."""
        return {
            # As it is hashed: studies from before a setting was added can go on.
            "settings": json.loads(canonical_json(self.settings)),
            "epochs": self.epochs,
            "base_levels": list(self.base_levels),
            "seed": self.seed,
        }

    def check_against(self, stored: dict[str, Any] | None) -> None:
        """Check that a study made earlier was made for the same search; only `trials` may differ.

        Raises:
            UserError: If it was not, naming what differs.
        """
        if stored is None:
            return
        before, now = _flat(stored), _flat(self.as_json())
        differs = sorted(
            key for key in before.keys() | now.keys() if before.get(key) != now.get(key)
        )
        if differs:
            raise UserError(
                f"the study of {self.dataset} was started with another "
                f"{', '.join(differs)} (go on with the same settings, or start a new run; "
                "only trials may change)"
            )


def _agrees(point: dict[str, Any], wanted: dict[str, Any]) -> bool:
    return all(k in point and choice_text(point[k]) == choice_text(v) for k, v in wanted.items())


def _flat(plan: dict[str, Any]) -> dict[str, Any]:
    flat = {**plan, **plan["settings"]}
    del flat["settings"], flat["trials"]
    return flat
