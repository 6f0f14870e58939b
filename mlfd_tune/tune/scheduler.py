"""Ray Tune schedulers: decisions are left to the studies, stages run to their end."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ray.tune.experiment import Trial
from ray.tune.schedulers import FIFOScheduler

from mlfd_tune.core.errors import UserError
from mlfd_tune.core.gpu_use import GpuUse
from mlfd_tune.core.no_space import NoSpaceError
from mlfd_tune.tune.packing import ALONE, GPU_USE, OUT_OF_MEMORY
from mlfd_tune.tune.searcher import WorkSearcher
from mlfd_tune.tune.soundness import FAILED, FAILED_AFTER, FAILED_BY
from mlfd_tune.tune.stage_work import PROBLEMS
from mlfd_tune.tune.studies import Studies
from mlfd_tune.tune.tune_controller import (
    explain_deaths,
    fail_attempt,
    keep_workers,
    move_to_new_worker,
)
from mlfd_tune.tune.worker import FULL

__all__ = ["StudyScheduler", "WorkScheduler", "failure_reason", "reason_in"]


class WorkScheduler(FIFOScheduler):  # type: ignore[misc]
    """Passes results of trials on to the scheduler of their phase, and sees to the workers.

    Workers are kept while there is nothing for them to do, and when their work fails in a way that
    says nothing about them. Failures are counted here, and decide whether work is tried again.

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
        self._controls = False
        self._counted = False  # the failure that Ray is about to tell of
        self._moves = False  # what Ray is about to call a failure is none

    def __deepcopy__(self, memo: dict[int, Any]) -> WorkScheduler:
        return self  # Ray copies schedulers; there is one searcher

    def __getstate__(self) -> dict[str, Any]:
        return {}  # Ray pickles schedulers for a restore of its own, which is not used

    def on_trial_add(self, tune_controller: Any, trial: Trial) -> None:
        """Say how often a new trial, or one that is tried again, may fail from now on."""
        if not self._controls:
            keep_workers(tune_controller, trial, self._slots)
            explain_deaths(tune_controller, self._why_died, self._died_idle)
            self._controls = True
        trial.max_failures = trial.num_failures + self._work.tries_left(trial.trial_id)

    def on_trial_result(self, tune_controller: Any, trial: Trial, result: Mapping[str, Any]) -> str:
        """Let the phase's scheduler say whether a trial goes on."""
        name = trial.trial_id
        if self._work.warm_up.owns(name):
            waits = self._work.warm_up.reported(name) and not self._work.cuts_off(name)
            return str(self.CONTINUE if waits else self.STOP)
        self._work.packing.resumed(name)
        if PROBLEMS in result and self._work.trains(name):
            # Not the trial's: it stays open, and the run ends.
            raise NoSpaceError(*result[PROBLEMS])
        if FAILED in result:
            again = self._work.failed(
                name,
                result[FAILED_BY],
                reason_in(result[FAILED]),
                result[FAILED_AFTER],
            )
            self._counted = True
            fail_attempt(tune_controller, trial, result[FAILED], again=again)
            return str(self.NOOP)
        if FULL in result:
            self._moves = True
            move_to_new_worker(tune_controller, trial)
            return str(self.NOOP)
        if OUT_OF_MEMORY in result:
            self._work.packing.out_of_memory(name)
            return str(self.PAUSE)
        use = _below(GPU_USE, result)
        if use:
            self._work.packing.measured(name, GpuUse(**use))
        if self._work.stage_of(name) is not None:
            return str(self.STOP)
        decision = self._work.phase.scheduler.on_trial_result(tune_controller, trial, result)
        if decision == self.CONTINUE and self._work.cuts_off(name):
            return str(self.STOP)
        return str(decision)

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
        """Note that a stage or trial failed, and why; it may yet be tried again."""
        moves, counted = self._moves, self._counted
        self._moves = self._counted = False
        if moves:
            return
        name = trial.trial_id
        if not counted:
            self._work.failed(name, "died", failure_reason(trial))
        if self._work.trains(name):
            self._work.phase.scheduler.on_trial_error(tune_controller, trial)

    def _why_died(self, trial: Trial | None, error: Exception) -> str:
        return self._work.deaths.reason(None if trial is None else trial.trial_id, error)

    def _died_idle(self, trial: Trial) -> None:
        self._moves = True


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
        problem = self._report(trial, result)
        if problem is not None:
            fail_attempt(tune_controller, trial, problem, again=False)
            return str(self.NOOP)
        if result["epoch"] >= result["epochs"]:
            return str(self.STOP)
        return str(self.STOP if self.studies.should_prune(trial.trial_id) else self.CONTINUE)

    def on_trial_complete(
        self, tune_controller: Any, trial: Trial, result: Mapping[str, Any]
    ) -> None:
        """Report the last result: Ray does not show the scheduler one that says it is done."""
        if "epoch" in result:  # else the trial was stopped before its first result
            problem = self._report(trial, result)
            if problem is not None:
                self.studies.tell(trial.trial_id, "failed", reason=problem)

    def on_trial_error(self, tune_controller: Any, trial: Trial) -> None:
        """Note why the trial failed; Ray may yet start it again."""
        self.studies.note_reason(trial.trial_id, failure_reason(trial))

    def _report(self, trial: Trial, result: Mapping[str, Any]) -> str | None:
        """Report a result, and return what is wrong with it."""
        try:
            self.studies.report(
                trial.trial_id, result["epoch"], result[self.metric_key], result["epochs"]
            )
        except ValueError as error:
            return str(error)
        except KeyError as error:
            return f"no {error} in the result"
        return None


_EXCEPTION_LINE = re.compile(r"[A-Za-z_][\w.]*: |[A-Za-z_][\w.]*(Error|Exception|Exit)$")
_OWN_ERRORS = f"{UserError.__module__}."


def failure_reason(trial: Trial) -> str:
    """Return one line on the trial's latest error, from the text Ray keeps of it."""
    path = Path(trial.error_file) if trial.error_file else None
    if path is None or not path.exists():
        return "unknown error"
    _, _, text = path.read_text(encoding="utf-8", errors="replace").rpartition("Failure #")
    return reason_in(text.partition("\n")[2])


def reason_in(text: str) -> str:
    """Return the end of a traceback in one line, or the first line of what has none."""
    lines = [line for line in text.splitlines() if line.strip()]
    raised = [i for i, line in enumerate(lines) if _EXCEPTION_LINE.match(line)]
    message = lines[raised[-1] :] if raised else lines[:1]  # else no traceback: a dead worker
    return " ".join(line.strip() for line in message).removeprefix(_OWN_ERRORS)[:500]


def _below(name: str, result: Mapping[str, Any]) -> dict[str, Any]:
    """Return a part of a result, which Ray hands over flat."""
    start = f"{name}/"
    return {key.removeprefix(start): v for key, v in result.items() if key.startswith(start)}
