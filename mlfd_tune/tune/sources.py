"""Where the trials of a phase come from: the studies of a search, or a list."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from mlfd_tune.tune.records import TrialRequest
from mlfd_tune.tune.studies import Studies
from mlfd_tune.tune.trial import TrialRequestConfig, trial_id

__all__ = ["PlannedSource", "Source", "StudySource", "Waiting"]

_AHEAD_PER_SLOT = 4


@dataclass(frozen=True)
class Waiting:
    """A trial that was drawn and has not started.

    Attributes:
        dataset: Its dataset.
        is_twin: Whether it only waits for a running trial that trains the same student.
    """

    dataset: str
    is_twin: bool


class Source(ABC):
    """Hands out trials, and is told when they start and end."""

    @abstractmethod
    def draw(self, waiting: Sequence[Waiting]) -> TrialRequestConfig | None:
        """Return the next trial, or None where none should be drawn now.

        Args:
            waiting: The trials drawn before that have not started.
        """

    @property
    @abstractmethod
    def exhausted(self) -> bool:
        """Whether every trial has been drawn."""

    @abstractmethod
    def started(self, request: TrialRequestConfig, ray_trial_id: str) -> None:
        """Learn that a trial was handed to Ray."""

    @abstractmethod
    def ended(self, ray_trial_id: str, failed: bool) -> None:
        """Learn that Ray is done with a trial."""


class PlannedSource(Source):
    """Trials that are known beforehand.

    Args:
        requests: In the order of preference.
    """

    def __init__(self, requests: Iterable[TrialRequestConfig]) -> None:
        self._left = list(requests)[::-1]

    def draw(self, waiting: Sequence[Waiting]) -> TrialRequestConfig | None:
        """Return the next trial; all may be drawn at once, since nothing depends on when."""
        return self._left.pop() if self._left else None

    @property
    def exhausted(self) -> bool:
        """Whether every trial has been drawn."""
        return not self._left

    def started(self, request: TrialRequestConfig, ray_trial_id: str) -> None:
        """Nothing depends on when a planned trial starts."""

    def ended(self, ray_trial_id: str, failed: bool) -> None:
        """Nothing depends on how a planned trial ends."""


class StudySource(Source):
    """Trials that Optuna's studies propose.

    While points are drawn without regard to results (first points, a grid, random draws), some are
    drawn ahead, so that those whose stages are there can start first and the stages of the others
    are known early. A model draws as late as it can: after it nothing is drawn for the dataset
    until the trial has started.

    Args:
        studies: The record of the search.
        slots: How many trials run at a time.
    """

    def __init__(self, studies: Studies, slots: int) -> None:
        self._studies = studies
        self._slots = slots
        self._requests: dict[str, TrialRequest] = {}

    def draw(self, waiting: Sequence[Waiting]) -> TrialRequestConfig | None:
        """Return the next trial of the studies that may draw now."""
        blocked = [name for name in self._studies.datasets if not self._may_draw(name, waiting)]
        request = self._studies.draw(without=blocked)
        if request is None:
            return None
        name = trial_id(request.dataset, request.number)
        self._requests[name] = request
        return TrialRequestConfig(name, request.dataset, request.params)

    @property
    def exhausted(self) -> bool:
        """Whether every study has asked for all of its trials."""
        return self._studies.exhausted

    def started(self, request: TrialRequestConfig, ray_trial_id: str) -> None:
        """Let the studies know the trial by Ray's id."""
        self._studies.hand_out(self._requests.pop(request.id), ray_trial_id)

    def ended(self, ray_trial_id: str, failed: bool) -> None:
        """Tell the study how the trial ended.

        One that neither failed, nor reached its last epoch, nor was stopped by the scheduler was
        interrupted (a time budget, Ctrl-C): it stays open for a later driver.
        """
        if failed:
            self._studies.tell(ray_trial_id, "failed")
        else:
            self._studies.settle(ray_trial_id)

    def _may_draw(self, dataset: str, waiting: Sequence[Waiting]) -> bool:
        if self._studies.draws_blindly(dataset):
            return len(waiting) < _AHEAD_PER_SLOT * self._slots
        own = [trial for trial in waiting if trial.dataset == dataset]
        return len(own) < self._slots and all(trial.is_twin for trial in own)
