"""A Ray Tune scheduler that leaves every decision to the studies."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ray.tune.experiment import Trial
from ray.tune.schedulers import FIFOScheduler

from mlfd_tune.tune.studies import Studies

__all__ = ["StudyScheduler", "failure_reason"]


class StudyScheduler(FIFOScheduler):  # type: ignore[misc]
    """Reports each result to the trial's study and stops the trials its pruner gives up on.

    A result is a dict with `epoch` (from 1), `epochs` (how many the trial has) and the metric. One
    whose metric is missing or not finite fails its trial; the sweep goes on.

    Args:
        studies: The record of the sweep.
        metric: The result key of what is maximised.
    """

    # Several results handed over at once would let a trial run on past the epoch it is stopped at.
    _supports_buffered_results = False

    def __init__(self, studies: Studies, metric: str = "val/acc1") -> None:
        super().__init__()
        self.studies = studies
        self.metric_key = metric

    def on_trial_result(self, tune_controller: Any, trial: Trial, result: Mapping[str, Any]) -> str:
        """Report a result that is not the trial's last and say whether to go on."""
        if not self._report(trial, result) or result["epoch"] >= result["epochs"]:
            return str(self.STOP)
        return str(self.STOP if self.studies.should_prune(trial.trial_id) else self.CONTINUE)

    def on_trial_complete(
        self, tune_controller: Any, trial: Trial, result: Mapping[str, Any]
    ) -> None:
        """Report the last result: Ray does not show the scheduler one that says it is done."""
        if "epoch" in result:  # else the trial was stopped before its first result
            self._report(trial, result)

    def on_trial_error(self, tune_controller: Any, trial: Trial) -> None:
        """Note why the trial failed; Ray may yet start it again."""
        self.studies.note_reason(trial.trial_id, failure_reason(trial))

    def _report(self, trial: Trial, result: Mapping[str, Any]) -> bool:
        try:
            self.studies.report(
                trial.trial_id, result["epoch"], result[self.metric_key], result["epochs"]
            )
        except ValueError as error:
            self.studies.tell(trial.trial_id, "failed", reason=str(error))
        except KeyError as error:
            self.studies.tell(trial.trial_id, "failed", reason=f"no {error} in the result")
        else:
            return True
        return False


_EXCEPTION_LINE = re.compile(r"[A-Za-z_][\w.]*: ")


def failure_reason(trial: Trial) -> str:
    """Return one line on the trial's latest error, from the text Ray keeps of it."""
    path = Path(trial.error_file) if trial.error_file else None
    if path is None or not path.exists():
        return "unknown error"
    _, _, text = path.read_text().rpartition("Failure #")
    lines = [line for line in text.splitlines()[1:] if line.strip()]
    raised = [i for i, line in enumerate(lines) if _EXCEPTION_LINE.match(line)]
    message = lines[raised[-1] :] if raised else lines[:1]  # else no traceback: a dead worker
    return " ".join(line.strip() for line in message)[:500]
