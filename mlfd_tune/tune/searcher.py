"""Ray Tune's searcher: hands out what can be done next, a student's trial or a shared stage."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field
from itertools import chain
from pathlib import Path
from typing import Any

from ray.tune.schedulers import FIFOScheduler, TrialScheduler
from ray.tune.search import Searcher

from mlfd_tune.core.errors import UserError
from mlfd_tune.core.store import Stage, walk
from mlfd_tune.tune.candidates import Candidate, candidate, refusal, require_a_way_on
from mlfd_tune.tune.deaths import Deaths
from mlfd_tune.tune.failures import Failure, FailureKind, Failures
from mlfd_tune.tune.packing import Packing
from mlfd_tune.tune.sources import Source, Waiting
from mlfd_tune.tune.stage_queue import StageQueue
from mlfd_tune.tune.stage_work import LEFT_OFF, PROBLEMS, Finishing, StageRequest
from mlfd_tune.tune.trial import TrialRequestConfig
from mlfd_tune.tune.warm_up import WarmUp
from mlfd_tune.tune.worker import REFUSED, WARM_UP

__all__ = ["Candidate", "Phase", "WorkSearcher", "candidate"]


def _nothing(request: TrialRequestConfig) -> None:
    """Start no run."""


@dataclass(frozen=True)
class Phase:
    """A part of a run: it ends when its stages and trials are over.

    Attributes:
        source: Where its trials come from.
        start: Called with each trial when a worker has begun it.
        scheduler: Judges the results of its trials.
        stages: Stages it is there to compute.
        ahead: Stages that its trials will probably need, to compute when nothing else is to do.
    """

    source: Source
    start: Callable[[TrialRequestConfig], None] = _nothing
    scheduler: TrialScheduler = field(default_factory=FIFOScheduler)
    stages: tuple[Stage, ...] = ()
    ahead: tuple[Stage, ...] = ()


class WorkSearcher(Searcher):  # type: ignore[misc]
    """Hands out work, phase after phase, whatever of it can be done.

    A trial can start when its shared stages are there and nobody trains the same student: until
    then it waits here, where it holds no device. Of trials that can start, the one drawn first is
    next. While there are such trials, the stages that others wait for take up to half of the slots;
    without them they take all.

    A trial that is not worth a try is handed out all the same, as a refusal that a worker only
    returns: its settings do not fit together, its configuration has failed for good, or a stage
    that it needs has. So it ends as any other trial that fails, everywhere with the same reason.

    Give the Tuner no metric, so that a result without one fails its trial alone.

    Args:
        phases: In order; the next one is taken when the one before is over.
        queue: The shared stages.
        prepare: Finds out what a trial needs.
        slots: How many pieces of work run at a time.
        workers: How many workers to start before the first work.
        folder: Where stages are put for the workers.
        packing: Decides what may run beside what runs.
        failures: What failed before.
        deaths: Knows why workers died.
    """

    def __init__(
        self,
        phases: Iterator[Phase],
        queue: StageQueue,
        prepare: Callable[[TrialRequestConfig], Candidate],
        slots: int,
        workers: int,
        folder: Path,
        packing: Packing,
        failures: Failures,
        deaths: Deaths,
    ) -> None:
        super().__init__()
        self.packing = packing
        self.failures = failures
        self.deaths = deaths
        self.warm_up = WarmUp(workers)
        self._phases = phases
        self._queue = queue
        self._prepare = prepare
        self._slots = slots
        self._folder = folder
        self._phase: Phase | None = None
        self._waiting: list[Candidate] = []
        self._trials: dict[str, Candidate] = {}  # under way, by Ray's id of the trial
        self._refused: set[str] = set()
        self._stages: dict[str, tuple[StageRequest, Stage]] = {}
        self._problem: UserError | None = None
        self._reasons: dict[str, str] = {}
        self._has_trained = False
        self._finishing = Finishing(folder)
        self._cut_off: set[str] = set()
        self.is_cut_short = False

    def __deepcopy__(self, memo: dict[int, Any]) -> WorkSearcher:
        return self  # Ray copies searchers; there is one queue

    def __getstate__(self) -> dict[str, Any]:
        return {}  # Ray pickles searchers for a restore of its own, which is not used

    @property
    def phase(self) -> Phase:
        """The phase of the trials under way."""
        assert self._phase is not None
        return self._phase

    def trains(self, ray_trial_id: str) -> bool:
        """Tell whether a Ray trial under way trains a student."""
        return ray_trial_id in self._trials

    def stage_of(self, ray_trial_id: str) -> Stage | None:
        """Return the stage that a Ray trial computes; None where it trains a student."""
        found = self._stages.get(ray_trial_id)
        return None if found is None else found[1]

    def tries_left(self, ray_trial_id: str) -> int:
        """Return how often a trial or stage may fail and yet be tried again."""
        found = self.stage_of(ray_trial_id) or self._trials.get(ray_trial_id)
        if found is None:
            return 1  # it only starts a worker
        if isinstance(found, Candidate):
            return self.failures.tries_left(found.request.id)
        return self.failures.tries_left(found.key)

    def failed(self, ray_trial_id: str, kind: FailureKind, reason: str, after: int = 0) -> bool:
        """Note that a trial or stage failed, whether or not it is tried again.

        Args:
            ray_trial_id: Ray's id of it.
            kind: How it failed.
            reason: Why.
            after: Epochs that were over before.

        Returns:
            Whether it should be tried again.
        """
        if ray_trial_id in self._refused or self.warm_up.owns(ray_trial_id):
            return False
        stage, trial = self.stage_of(ray_trial_id), self._trials.get(ray_trial_id)
        if stage is not None:
            self.failures.add(Failure(stage.key, stage.key, kind, reason, after), keep=False)
            self._reasons[ray_trial_id] = reason
            return self.failures.may_try_again(stage.key, stage.key)
        assert trial is not None
        self.failures.add(Failure(trial.request.id, trial.student, kind, reason, after))
        return self.failures.may_try_again(trial.request.id, trial.student)

    def suggest(self, trial_id: str) -> dict[str, Any] | str | None:
        """Return the next work's config, None when it must wait, `Searcher.FINISHED` at the end.

        Raises:
            UserError: A stage met bad input, such as an image that cannot be read; or one failed
                that everything else needs.
        """
        if self._finishing.asked:
            self.is_cut_short |= self._phase is not None or self.begin()
            return str(Searcher.FINISHED)
        if self.warm_up.ask(trial_id):
            return {WARM_UP: True}
        if not self.warm_up.over:
            return None
        if self._problem is not None:
            raise self._problem
        while self.begin():
            work = self._next_work(trial_id)
            if work is not None or not self._is_over():
                return work
            self._phase = None
        return str(Searcher.FINISHED)

    def finish(self) -> None:
        """Hand out nothing more, and let what runs come to a point from which it can go on."""
        self._finishing.ask()

    def cuts_off(self, ray_trial_id: str) -> bool:
        """Tell whether a trial that would go on is to be left off, for a later driver to go on."""
        if self._finishing.asked:
            self._cut_off.add(ray_trial_id)
        return self._finishing.asked

    def was_cut_off(self, ray_trial_id: str) -> bool:
        """Tell whether a trial was left off before its end."""
        return ray_trial_id in self._cut_off

    def begin(self) -> bool:
        """Begin a phase unless one is under way; return False when there is none left."""
        if self._phase is None:
            self._phase = next(self._phases, None)
            if self._phase is None:
                return False
            self._queue.add([*self._phase.stages, *self._phase.ahead])
        return True

    def on_trial_complete(
        self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False
    ) -> None:
        """Learn that a trial or a stage is over."""
        if self.warm_up.owns(trial_id):
            self.warm_up.gave_up(trial_id)
            return
        self.packing.ended(trial_id)
        if trial_id not in self._stages:
            del self._trials[trial_id]
            self._refused.discard(trial_id)
            self._has_trained |= not error
            self.phase.source.ended(trial_id, error)
            return
        request, stage = self._stages.pop(trial_id)
        request.discard()
        if error or result is None:
            self._queue.failed(stage, self._reasons.pop(trial_id, "it was stopped"))
        elif LEFT_OFF in result:
            self._queue.failed(stage, "it was left off")
        elif PROBLEMS in result:
            self._queue.failed(stage, " ".join(result[PROBLEMS]))
            self._problem = UserError(*result[PROBLEMS])
        else:
            self._queue.done(stage)

    def save(self, checkpoint_path: str) -> None:
        """Save nothing: a new driver makes a new one."""

    def restore(self, checkpoint_path: str) -> None:
        """Restore nothing."""

    def _next_work(self, ray_id: str) -> dict[str, Any] | None:
        self._draw()
        goes_on = self._goes_on()
        for trial in self._waiting:
            reason = refusal(trial, self.failures, self._queue, goes_on=goes_on)
            if reason is not None:
                self._refused.add(ray_id)
                return self._start_trial(trial, ray_id) | {REFUSED: reason}
        require_a_way_on(self._queue, chain(walk(self.phase.stages), self._wanted()))
        ready = next(filter(self._can_start, self._waiting), None)
        stage = self._queue.next_of(self._wanted())
        if ready is None:
            return self._start_stage(stage or self._queue.next_of(self._ahead()), ray_id)
        if len(self._queue.under_way) < self._slots // 2 and stage is not None:
            return self._start_stage(stage, ray_id)
        if not self.packing.may_start(ready.request.dataset):
            return None
        self.packing.started(ray_id, ready.request.dataset)
        return self._start_trial(ready, ray_id)

    def _start_trial(self, trial: Candidate, ray_id: str) -> dict[str, Any]:
        self._waiting.remove(trial)
        self._trials[ray_id] = trial
        self.phase.source.started(trial.request, ray_id)
        return asdict(trial.request)

    def _goes_on(self) -> bool:
        """Tell whether trials can be trained whatever stages have failed."""
        return (
            self._has_trained
            or any(ray_id not in self._refused for ray_id in self._trials)
            or any(self._queue.broken_of(trial.below) is None for trial in self._waiting)
        )

    def _draw(self) -> None:
        while True:
            waiting = [Waiting(c.request.dataset, self._is_twin(c)) for c in self._waiting]
            request = self.phase.source.draw(waiting)
            if request is None:
                return
            drawn = self._prepare(request)
            self._queue.add(drawn.below)
            self._waiting.append(drawn)

    def _start_stage(self, stage: Stage | None, ray_id: str) -> dict[str, Any] | None:
        if stage is None or not self.packing.may_start(stage.stage_name):
            return None
        self.packing.started(ray_id, stage.stage_name)
        request = StageRequest.write(stage, self._folder)
        self._stages[ray_id] = request, stage
        self._queue.started(stage)
        return request.config

    def _can_start(self, trial: Candidate) -> bool:
        return self._queue.has_all(trial.below) and not self._is_twin(trial)

    def _is_twin(self, trial: Candidate) -> bool:
        return trial.student is not None and any(
            other.student == trial.student for other in self._trials.values()
        )

    def _wanted(self) -> Iterator[Stage]:
        return chain(self.phase.stages, *(trial.below for trial in self._waiting))

    def _ahead(self) -> tuple[Stage, ...]:
        """Nothing is computed ahead of trials that will not come."""
        return () if self.phase.source.exhausted else self.phase.ahead

    def _is_over(self) -> bool:
        return not (self._waiting or self._trials) and (
            self.phase.source.exhausted and self._queue.has_all(self.phase.stages)
        )
