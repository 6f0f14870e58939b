"""What happens in Tune, passed on to MLflow and to the terminal."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ray.tune import Callback
from ray.tune.experiment import Trial

from mlfd_tune.tune.progress import Progress
from mlfd_tune.tune.records import Outcome
from mlfd_tune.tune.run_log import RUN_STATUS, RunLog
from mlfd_tune.tune.scheduler import failure_reason
from mlfd_tune.tune.trial import TrialRequestConfig

__all__ = ["ExperimentCallback"]


class ExperimentCallback(Callback):  # type: ignore[misc]
    """Logs and shows every trial of one Tuner.

    Args:
        log: Writes runs to MLflow.
        progress: The terminal.
        start: Starts a trial's run with the tags its kind needs.
        ended: Told of every trial that is over and logged.
    """

    def __init__(
        self,
        log: RunLog,
        progress: Progress,
        start: Callable[[TrialRequestConfig], None],
        ended: Callable[[TrialRequestConfig], None] = lambda request: None,
    ) -> None:
        self.log = log
        self.progress = progress
        self.start = start
        self.ended = ended

    def __deepcopy__(self, memo: dict[int, Any]) -> ExperimentCallback:
        return self  # Ray copies callbacks; there is one terminal and one tracker

    def __getstate__(self) -> dict[str, Any]:
        return {}  # Ray pickles callbacks for a restore of its own, which is not used

    def on_trial_start(
        self, iteration: int, trials: list[Trial], trial: Trial, **info: Any
    ) -> None:
        """Start the trial's run."""
        request = TrialRequestConfig.read(trial.config)
        self.start(request)
        self.progress.trial_started(request.id, request.dataset)

    def on_trial_result(
        self, iteration: int, trials: list[Trial], trial: Trial, result: dict[str, Any], **info: Any
    ) -> None:
        """Log and show an epoch."""
        request = TrialRequestConfig.read(trial.config)
        self.log.trial_result(request, result)
        self.progress.trial_result(request.id, request.dataset, result)

    def on_trial_complete(
        self, iteration: int, trials: list[Trial], trial: Trial, **info: Any
    ) -> None:
        """End the run of a trial that finished or was stopped."""
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
        reason = failure_reason(trial)
        request = TrialRequestConfig.read(trial.config)
        self.progress.say(f"  {request.id} failed: {reason}")
        self._end(trial, "failed", trial.last_result or {}, reason)

    def _end(
        self, trial: Trial, outcome: Outcome, result: dict[str, Any], reason: str | None
    ) -> None:
        request = TrialRequestConfig.read(trial.config)
        self.log.end_trial(request, RUN_STATUS[outcome], result, reason)
        self.ended(request)
        self.progress.trial_ended(request.id, request.dataset, outcome, result)
