"""What happens in Tune, passed on to MLflow, to the terminal and to the timeline."""

from __future__ import annotations

import time
from collections import Counter
from typing import Any

from ray.tune import Callback
from ray.tune.experiment import Trial

from mlfd_tune.tune.packing import OUT_OF_MEMORY
from mlfd_tune.tune.progress import Progress
from mlfd_tune.tune.records import Outcome
from mlfd_tune.tune.run_folder import RunFolder
from mlfd_tune.tune.run_log import RUN_STATUS, RunLog
from mlfd_tune.tune.scheduler import failure_reason
from mlfd_tune.tune.searcher import WorkSearcher
from mlfd_tune.tune.soundness import FAILED
from mlfd_tune.tune.spent_checkpoints import discard_checkpoint
from mlfd_tune.tune.stage_queue import StageQueue
from mlfd_tune.tune.stage_work import LEFT_OFF, PROBLEMS, progress_of
from mlfd_tune.tune.stopping import Stopping
from mlfd_tune.tune.timeline import CLOCK, Timeline
from mlfd_tune.tune.trial import UNSAVED, TrialRequestConfig
from mlfd_tune.tune.tune_controller import kill_worker
from mlfd_tune.tune.watchdog import Silent, Watchdog
from mlfd_tune.tune.worker import FULL, WARM_UP

__all__ = ["ExperimentCallback"]

_FINISHING = (
    "finishing: running trials and trainings end after this epoch, other stages at their end; "
    "press Ctrl-C again to stop now"
)
_LOOK_EVERY_S = 0.3
_WORKERS_ARE_STARTING = 8  # steps of Ray Tune, which wait for a tenth of a second each


class ExperimentCallback(Callback):  # type: ignore[misc]
    """Logs and shows every trial and stage of one Tuner.

    Args:
        work: What hands out the work.
        queue: The shared stages.
        log: Writes runs to MLflow.
        progress: The terminal.
        timeline: The run's record of who did what when.
        folder: The run's folder, told of every trial that is over and logged.
        watchdog: Says which work shows no progress.
        stopping: Says when to finish before all is done.
    """

    def __init__(
        self,
        work: WorkSearcher,
        queue: StageQueue,
        log: RunLog,
        progress: Progress,
        timeline: Timeline,
        folder: RunFolder,
        watchdog: Watchdog,
        stopping: Stopping,
    ) -> None:
        self.work = work
        self.queue = queue
        self.log = log
        self.progress = progress
        self.timeline = timeline
        self.folder = folder
        self.watchdog = watchdog
        self.stopping = stopping
        self._looked = 0.0
        self._finishes = False
        self._told_unsaved = False
        # Of work, by Ray's id:
        self._moves: Counter[str] = Counter()
        self._names: dict[str, str] = {}

    def __deepcopy__(self, memo: dict[int, Any]) -> ExperimentCallback:
        return self  # Ray copies callbacks; there is one terminal and one tracker

    def __getstate__(self) -> dict[str, Any]:
        return {}  # Ray pickles callbacks for a restore of its own, which is not used

    def on_step_begin(self, iteration: int, trials: list[Trial], **info: Any) -> None:
        """Finish if that is asked for, and look now and then how far the stages are."""
        if self.stopping.asked and not self._finishes:
            self._finishes = True
            self.progress.say(_FINISHING)
            self.work.finish()
        now = time.monotonic()
        if iteration == _WORKERS_ARE_STARTING:
            self.work.begin()  # what is to do beforehand is done while they import torch
        if now - self._looked > _LOOK_EVERY_S:
            self._looked = now
            for stage in self.queue.under_way:
                self.progress.stage_moved(stage, *progress_of(self.queue.store, stage))
            self._watch([trial for trial in trials if trial.status == Trial.RUNNING])

    def on_trial_start(
        self, iteration: int, trials: list[Trial], trial: Trial, **info: Any
    ) -> None:
        """Start the trial's run."""
        self._moves[trial.trial_id] += 1
        self._names[trial.trial_id] = self._name(trial)
        if not _is_student(trial):
            return
        request = TrialRequestConfig.read(trial.config)
        self.work.phase.start(request)
        self.progress.trial_started(request.id, request.dataset)
        self.timeline.trial_started(request.id, request.dataset)

    def on_trial_result(
        self, iteration: int, trials: list[Trial], trial: Trial, result: dict[str, Any], **info: Any
    ) -> None:
        """Log and show an epoch."""
        self._moves[trial.trial_id] += 1
        if FAILED in result:
            return  # told where Ray takes it for an error
        if FULL in result:
            self.progress.say(f"  a worker that held {result[FULL]} after its work was replaced")
            return
        if OUT_OF_MEMORY in result:
            name = self._names[trial.trial_id]
            self.progress.say(f"  {name} ran out of memory beside others and waits to run alone")
            return
        stage = self.work.stage_of(trial.trial_id)
        if stage is not None and PROBLEMS not in result and LEFT_OFF not in result:
            self.timeline.stage_done(stage, result[CLOCK])
        if not _is_student(trial):
            return
        request = TrialRequestConfig.read(trial.config)
        if UNSAVED in result and not self._told_unsaved:
            self._told_unsaved = True
            self.progress.say(f"  {request.id}: {result[UNSAVED]}")
        if result["reused_epochs"] < result["epoch"]:
            self.watchdog.took(result["time_this_iter_s"])
        self.log.trial_result(request, result)
        self.progress.trial_result(request.id, request.dataset, result)
        self.timeline.trial_result(request.id, result)

    def on_trial_complete(
        self, iteration: int, trials: list[Trial], trial: Trial, **info: Any
    ) -> None:
        """End the run of a trial that finished or was stopped."""
        self._forget(trial)
        if not _is_student(trial):
            return
        if self.work.was_cut_off(trial.trial_id):
            self.timeline.trial_ended(TrialRequestConfig.read(trial.config).id, "interrupted")
            return
        result = trial.last_result or {}
        finished = result.get("epoch", 0) >= result.get("epochs", 1)
        reason = (
            None if finished else f"stopped by the scheduler after epoch {result.get('epoch', 0)}"
        )
        self._end(trial, "complete" if finished else "pruned", result, reason)

    def on_trial_recover(
        self, iteration: int, trials: list[Trial], trial: Trial, **info: Any
    ) -> None:
        """Say that a trial or stage failed and is tried again."""
        if _is_work(trial):
            name = self._names.get(trial.trial_id, "work")
            self.progress.say(f"  {name}: {failure_reason(trial)}; tried again")

    def on_trial_error(
        self, iteration: int, trials: list[Trial], trial: Trial, **info: Any
    ) -> None:
        """End the run of a trial that failed, with its reason."""
        reason = failure_reason(trial)
        if _is_work(trial):
            name = self._names.get(trial.trial_id, "work")
            self.progress.say(f"  {name} failed: {reason}")
        self._forget(trial)
        if _is_student(trial):
            self._end(trial, "failed", trial.last_result or {}, reason)

    def _watch(self, running: list[Trial]) -> None:
        """Kill the workers of what shows no progress."""
        signs = self.work.deaths.signs
        by_id = {trial.trial_id: trial for trial in running if _is_work(trial)}
        marks = {name: (self._moves[name], signs.seen(name)) for name in by_id}
        for silent in self.watchdog.look(marks):
            trial = by_id[silent.work]
            self.progress.say(f"  {self._names[silent.work]} {_told(silent)}")
            if silent.too_long:
                self.work.deaths.killed(silent.work, _reason(silent))
                kill_worker(trial)

    def _name(self, trial: Trial) -> str:
        if _is_student(trial):
            return TrialRequestConfig.read(trial.config).id
        stage = self.work.stage_of(trial.trial_id)
        return "a worker" if stage is None else stage.label

    def _forget(self, trial: Trial) -> None:
        self._moves.pop(trial.trial_id, None)
        self._names.pop(trial.trial_id, None)
        self.work.deaths.signs.remove(trial.trial_id)

    def _end(
        self, trial: Trial, outcome: Outcome, result: dict[str, Any], reason: str | None
    ) -> None:
        request = TrialRequestConfig.read(trial.config)
        if outcome != "complete":  # first of all: if this is killed now, a resumed run does it
            discard_checkpoint(self.log.context, request, result)
        self.log.end_trial(request, RUN_STATUS[outcome], result, reason)
        self.folder.trial_ended(request.id)
        self.progress.trial_ended(request.id, request.dataset, outcome, result)
        self.timeline.trial_ended(request.id, outcome)


def _is_student(trial: Trial) -> bool:
    """Tell whether a Ray trial trains a student, and does not compute a stage."""
    return "params" in trial.config


def _is_work(trial: Trial) -> bool:
    """Tell whether a Ray trial is there for more than to start a worker."""
    return WARM_UP not in trial.config


def _told(silent: Silent) -> str:
    if silent.too_long:
        return f"has shown no progress for {silent.seconds:.0f} s; its worker is killed"
    return (
        f"has shown no progress for {silent.seconds:.0f} s, much longer than others take for an "
        "epoch; resources.trial_timeout would end it"
    )


def _reason(silent: Silent) -> str:
    return (
        f"no progress for {silent.seconds:.0f} s (resources.trial_timeout): its worker was killed"
    )
