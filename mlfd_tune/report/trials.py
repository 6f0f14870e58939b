"""The trials of a search as its figures take them, and the rungs at which they are judged."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from mlfd_tune.config.search import SearchSettings

__all__ = ["SearchTrial", "TrialEnd", "best_of", "by_dataset", "rungs_of"]

TrialEnd = Literal["complete", "pruned", "failed", "running"]


@dataclass(frozen=True)
class SearchTrial:
    """A trial of a search.

    Attributes:
        dataset: Its study.
        number: Its number there, from 0.
        end: How it ended.
        values: The metric after every epoch that it reported.
        params: What it drew, by dotted key; what did not exist in it is left out.
    """

    dataset: str
    number: int
    end: TrialEnd
    values: Mapping[int, float]
    params: Mapping[str, Any]

    @property
    def epoch(self) -> int:
        """The last epoch it reported, 0 if none."""
        return max(self.values, default=0)

    @property
    def value(self) -> float | None:
        """The metric after that epoch; None if it reported none."""
        return self.values.get(self.epoch)


def by_dataset(trials: Sequence[SearchTrial]) -> dict[str, list[SearchTrial]]:
    """Return the trials of each dataset by number, the datasets in the order they come."""
    found: dict[str, list[SearchTrial]] = {}
    for trial in trials:
        found.setdefault(trial.dataset, []).append(trial)
    return {name: sorted(own, key=lambda trial: trial.number) for name, own in found.items()}


def best_of(trials: Sequence[SearchTrial]) -> SearchTrial | None:
    """Return the best of the trials that ran to the end, of equal ones the first, or None.

    A value after fewer epochs is no match for one after all of them, so stopped trials are no
    candidates.
    """
    complete = [trial for trial in trials if trial.end == "complete" and trial.value is not None]
    return min(complete, key=lambda trial: (-(trial.value or 0.0), trial.number), default=None)


def rungs_of(settings: SearchSettings, epochs: int) -> tuple[int, ...]:
    """Return the epochs after which trials may be stopped, but for the last one.

    Of successive halving (Li et al. 2018, ASHA) the grace period times powers of the reduction
    factor; Hyperband has the same rungs and begins some brackets later. The median rule has no
    rungs: it may stop a trial after any epoch from the grace period on, which is what is returned.
    """
    grace, factor = settings.grace_epochs, settings.reduction_factor
    if settings.scheduler == "none":
        return ()
    if settings.scheduler == "median":
        return (grace,)
    rungs = []
    while grace < epochs:
        rungs.append(grace)
        grace *= factor
    return tuple(rungs)
