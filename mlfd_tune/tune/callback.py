"""What happens in Tune, passed on to MLflow, to the terminal and to the timeline."""

from __future__ import annotations

import time
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
from mlfd_tune.tune.stage_queue import StageQueue
from mlfd_tune.tune.stage_work import PROBLEMS, progress_of
from mlfd_tune.tune.timeline import CLOCK, Timeline
from mlfd_tune.tune.trial import TrialRequestConfig

__all__ = ["ExperimentCallback"]

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
    """

    def __init__(
        self,
        work: WorkSearcher,
        queue: StageQueue,
        log: RunLog,
        progress: Progress,
        timeline: Timeline,
        folder: RunFolder,
    ) -> None:
        self.work = work
        self.queue = queue
        self.log = log
        self.progress = progress
        self.timeline = timeline
        self.folder = folder
        self._looked = 0.0

    def __deepcopy__(self, memo: dict[int, Any]) -> ExperimentCallback:
        return self  # Ray copies callbacks; there is one terminal and one tracker

    def __getstate__(self) -> dict[str, Any]:
        return {}  # Ray pickles callbacks for a restore of its own, which is not used

    def on_step_begin(self, iteration: int, trials: list[Trial], **info: Any) -> None:
        """Look now and then how far the stages are."""
        now = time.monotonic()
        if iteration == _WORKERS_ARE_STARTING:
            self.work.begin()  # what is to do beforehand is done while they import torch
        if now - self._looked > _LOOK_EVERY_S:
            self._looked = now
            for stage in self.queue.under_way:
                self.progress.stage_moved(stage, *progress_of(self.queue.store, stage))

    def on_trial_start(
        self, iteration: int, trials: list[Trial], trial: Trial, **info: Any
    ) -> None:
        """Start the trial's run."""
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
        if OUT_OF_MEMORY in result:
            what = self.work.stage_of(trial.trial_id)
            name = TrialRequestConfig.read(trial.config).id if what is None else what.label
            self.progress.say(f"  {name} ran out of memory beside others and waits to run alone")
            return
        stage = self.work.stage_of(trial.trial_id)
        if stage is not None and PROBLEMS not in result:
            self.timeline.stage_done(stage, result[CLOCK])
        if not _is_student(trial):
            return
        request = TrialRequestConfig.read(trial.config)
        self.log.trial_result(request, result)
        self.progress.trial_result(request.id, request.dataset, result)
        self.timeline.trial_result(request.id, result)

    def on_trial_complete(
        self, iteration: int, trials: list[Trial], trial: Trial, **info: Any
    ) -> None:
        """End the run of a trial that finished or was stopped."""
        if not _is_student(trial):
            return
        result = trial.last_result or {}
        finished = result.get("epoch", 0) >= result.get("epochs", 1)
        reason = (
            None if finished else f"stopped by the scheduler after epoch {result.get('epoch', 0)}"
        )
        self._end(trial, "complete" if finished else "pruned", result, reason)

    def on_trial_error(
        self, iteration: int, trials: list[Trial], trial: Trial, **info: Any
    ) -> None:
        """End the run of a trial that failed, with its reason."""
        if not _is_student(trial):
            return
        reason = failure_reason(trial)
        request = TrialRequestConfig.read(trial.config)
        self.progress.say(f"  {request.id} failed: {reason}")
        self._end(trial, "failed", trial.last_result or {}, reason)

    def _end(
        self, trial: Trial, outcome: Outcome, result: dict[str, Any], reason: str | None
    ) -> None:
        request = TrialRequestConfig.read(trial.config)
        self.log.end_trial(request, RUN_STATUS[outcome], result, reason)
        self.folder.trial_ended(request.id)
        self.progress.trial_ended(request.id, request.dataset, outcome, result)
        self.timeline.trial_ended(request.id, outcome)


def _is_student(trial: Trial) -> bool:
    """Tell whether a Ray trial trains a student, and does not compute a stage."""
    return "params" in trial.config
