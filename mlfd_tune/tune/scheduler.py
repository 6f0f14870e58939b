"""Ray Tune schedulers: decisions are left to the studies, stages run to their end."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ray.tune.experiment import Trial
from ray.tune.schedulers import FIFOScheduler

from mlfd_tune.core.gpu_use import GpuUse
from mlfd_tune.tune.packing import ALONE, GPU_USE, OUT_OF_MEMORY
from mlfd_tune.tune.searcher import WorkSearcher
from mlfd_tune.tune.studies import Studies

__all__ = ["StudyScheduler", "WorkScheduler", "failure_reason"]


class WorkScheduler(FIFOScheduler):  # type: ignore[misc]
    """Passes results of trials on to the scheduler of their phase, and keeps idle workers.

    Args:
        work: What hands out the work.
        slots: How many workers there are.
    """

    # Several results handed over at once would let a trial run on past the epoch it is stopped at.
    _supports_buffered_results = False

    def __init__(self, work: WorkSearcher, slots: int) -> None:
        super().__init__()
        self._work = work
        self._slots = slots
        self._keeps_workers = False

    def __deepcopy__(self, memo: dict[int, Any]) -> WorkScheduler:
        return self  # Ray copies schedulers; there is one searcher

    def __getstate__(self) -> dict[str, Any]:
        return {}  # Ray pickles schedulers for a restore of its own, which is not used

    def on_trial_add(self, tune_controller: Any, trial: Trial) -> None:
        """See to it that workers are kept while there is nothing for them to do.

        Ray keeps one idle worker and ends the others, each of which takes seconds to start again:
        torch is imported anew. It keeps as many as work is queued for; there is no other way to
        tell it to keep more.
        """
        if not self._keeps_workers:
            tune_controller._actor_cache.increase_max(trial.placement_group_factory, self._slots)
            self._keeps_workers = True

    def on_trial_result(self, tune_controller: Any, trial: Trial, result: Mapping[str, Any]) -> str:
        """Let the phase's scheduler say whether a trial goes on."""
        if self._work.warm_up.owns(trial.trial_id):
            waits = self._work.warm_up.reported(trial.trial_id)
            return str(self.CONTINUE if waits else self.STOP)
        self._work.packing.resumed(trial.trial_id)
        if OUT_OF_MEMORY in result:
            self._work.packing.out_of_memory(trial.trial_id)
            return str(self.PAUSE)
        if GPU_USE in result:
            self._work.packing.measured(trial.trial_id, GpuUse(**result[GPU_USE]))
        if self._work.stage_of(trial.trial_id) is not None:
            return str(self.STOP)
        return str(self._work.phase.scheduler.on_trial_result(tune_controller, trial, result))

    def choose_trial_to_run(self, tune_controller: Any) -> Trial | None:
        """Return what is next; what ran out of memory waits until nothing else runs."""
        alone = self._work.packing.next_alone()
        for trial in tune_controller.get_trials():
            if trial.status == Trial.PENDING:
                return trial
            if trial.status == Trial.PAUSED and trial.trial_id == alone:
                trial.set_config({**trial.config, ALONE: True})
                return trial
        return None

    def on_trial_complete(
        self, tune_controller: Any, trial: Trial, result: Mapping[str, Any]
    ) -> None:
        """Show the phase's scheduler a trial's last result."""
        if self._work.trains(trial.trial_id):
            self._work.phase.scheduler.on_trial_complete(tune_controller, trial, result)

    def on_trial_error(self, tune_controller: Any, trial: Trial) -> None:
        """Note why a stage or trial failed."""
        if self._work.trains(trial.trial_id):
            self._work.phase.scheduler.on_trial_error(tune_controller, trial)
        else:
            self._work.note_reason(trial.trial_id, failure_reason(trial))


class StudyScheduler(FIFOScheduler):  # type: ignore[misc]
    """Reports each result to the trial's study and stops the trials its pruner gives up on.

    A result is a dict with `epoch` (from 1), `epochs` (how many the trial has) and the metric. One
    whose metric is missing or not finite fails its trial; the sweep goes on.

    Args:
        studies: The record of the sweep.
        metric: The result key of what is maximised.
    """

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
