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
from mlfd_tune.tune.packing import Packing
from mlfd_tune.tune.sources import Source, Waiting
from mlfd_tune.tune.stage_queue import StageQueue
from mlfd_tune.tune.stage_work import PROBLEMS, StageRequest
from mlfd_tune.tune.trial import TrialContext, TrialRequestConfig, student_of
from mlfd_tune.tune.warm_up import WarmUp
from mlfd_tune.tune.worker import WARM_UP

__all__ = ["Candidate", "Phase", "WorkSearcher", "candidate"]


@dataclass(frozen=True)
class Candidate:
    """A trial that was drawn.

    Attributes:
        request: What it trains.
        student: Key of its student; None where its settings do not fit together, which the worker
            finds out again and reports.
        below: The shared stages it needs, inputs first.
    """

    request: TrialRequestConfig
    student: str | None = None
    below: tuple[Stage, ...] = ()


def candidate(context: TrialContext, request: TrialRequestConfig) -> Candidate:
    """Return a drawn trial with what it needs."""
    try:
        student = student_of(context, request)
    except UserError:
        return Candidate(request)
    return Candidate(request, student.key, tuple(walk(student.inputs.values())))


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

    Give the Tuner no metric, so that a result without one fails its trial alone.

    Args:
        phases: In order; the next one is taken when the one before is over.
        queue: The shared stages.
        prepare: Finds out what a trial needs.
        slots: How many pieces of work run at a time.
        workers: How many workers to start before the first work.
        folder: Where stages are put for the workers.
        packing: Decides what may run beside what runs.
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
    ) -> None:
        super().__init__()
        self.packing = packing
        self.warm_up = WarmUp(workers)
        self._phases = phases
        self._queue = queue
        self._prepare = prepare
        self._slots = slots
        self._folder = folder
        self._phase: Phase | None = None
        self._waiting: list[Candidate] = []
        self._students: dict[str, str | None] = {}  # under way, by Ray's id of the trial
        self._stages: dict[str, tuple[StageRequest, Stage]] = {}
        self._reasons: dict[str, str] = {}
        self._problem: Exception | None = None

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
        return ray_trial_id in self._students

    def stage_of(self, ray_trial_id: str) -> Stage | None:
        """Return the stage that a Ray trial computes; None where it trains a student."""
        found = self._stages.get(ray_trial_id)
        return None if found is None else found[1]

    def note_reason(self, ray_trial_id: str, reason: str) -> None:
        """Keep in mind why a stage failed."""
        self._reasons[ray_trial_id] = reason

    def suggest(self, trial_id: str) -> dict[str, Any] | str | None:
        """Return the next work's config, None when it must wait, `Searcher.FINISHED` at the end.

        Raises:
            UserError: A stage met bad input, such as an image that cannot be read.
            RuntimeError: A stage failed.
        """
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
            return
        self.packing.ended(trial_id)
        if trial_id not in self._stages:
            del self._students[trial_id]
            self.phase.source.ended(trial_id, error)
            return
        request, stage = self._stages.pop(trial_id)
        request.discard()
        if result is None or error or PROBLEMS in result:
            self._queue.failed(stage)
        else:
            self._queue.done(stage)
        if error:
            reason = self._reasons.get(trial_id, "unknown error")
            self._problem = RuntimeError(f"{stage.label}: {reason}")
        elif result is not None and PROBLEMS in result:
            self._problem = UserError(*result[PROBLEMS])

    def save(self, checkpoint_path: str) -> None:
        """Save nothing: a new driver makes a new one."""

    def restore(self, checkpoint_path: str) -> None:
        """Restore nothing."""

    def _next_work(self, ray_id: str) -> dict[str, Any] | None:
        self._draw()
        ready = next(filter(self._can_start, self._waiting), None)
        stage = self._queue.next_of(self._wanted())
        if ready is None:
            return self._start_stage(stage or self._queue.next_of(self._ahead()), ray_id)
        if len(self._queue.under_way) < self._slots // 2 and stage is not None:
            return self._start_stage(stage, ray_id)
        if not self.packing.may_start(ready.request.dataset):
            return None
        self.packing.started(ray_id, ready.request.dataset)
        self._waiting.remove(ready)
        self._students[ray_id] = ready.student
        self.phase.source.started(ready.request, ray_id)
        return asdict(ready.request)

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
        return trial.student is not None and trial.student in self._students.values()

    def _wanted(self) -> Iterator[Stage]:
        return chain(self.phase.stages, *(trial.below for trial in self._waiting))

    def _ahead(self) -> tuple[Stage, ...]:
        """Nothing is computed ahead of trials that will not come."""
        return () if self.phase.source.exhausted else self.phase.ahead

    def _is_over(self) -> bool:
        return not (self._waiting or self._students) and (
            self.phase.source.exhausted and self._queue.has_all(self.phase.stages)
        )
