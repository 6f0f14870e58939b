"""The record of a sweep: one Optuna study per dataset, in one storage file beside the run.

The storage is the only memory there is. What was asked, every intermediate value, every state and
every rung decision is written there before anything acts on it, so a driver that dies loses
nothing, and a new one with the same storage goes on. Ray's searcher and scheduler
(`mlfd_tune.tune.searcher`, `mlfd_tune.tune.scheduler`) only carry messages to and from here.

A trial is known to Ray by an id that lives as long as the driver, and here by its dataset and
number, which stay.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import optuna
from optuna.trial import TrialState

from mlfd_tune.core.seeding import derive_seed
from mlfd_tune.tune.plans import StudyPlan
from mlfd_tune.tune.records import (
    EndedTrial,
    FinishedTrial,
    Outcome,
    Reconciled,
    StudySummary,
    TrialRequest,
)
from mlfd_tune.tune.samplers import check_sampler, make_sampler
from mlfd_tune.tune.space import sample
from mlfd_tune.tune.standings import best_trials, ended_trials, summarise
from mlfd_tune.tune.storage import open_storage, open_study, quiet_optuna, storage_url

__all__ = ["Studies"]

_STATES: dict[Outcome, TrialState] = {
    "complete": TrialState.COMPLETE,
    "pruned": TrialState.PRUNED,
    "failed": TrialState.FAIL,
}


# User attributes of a trial, written as soon as its end is decided.
_RAN_TO_THE_END = "ran_to_the_end"
_STOPPED_AFTER = "stopped_after_epoch"


@dataclass
class _Row:
    """A trial that Ray knows.

    Attributes:
        dataset: Its study.
        number: Its number there.
        trial_id: Its key in the storage.
        epoch: The last one it reported to this process.
        reason: Its latest error; Ray may have started it again since.
    """

    dataset: str
    number: int
    trial_id: int
    epoch: int | None = None
    reason: str | None = None


class Studies:
    """The studies of a sweep.

    Opening them creates what is missing and leaves the rest as it is. A driver that resumes calls
    `reconcile` next; nothing else may, because it takes every unfinished trial for abandoned.

    Copies refer to the same object, and pickles open the storage again: Ray does both.

    Args:
        storage: A path (an SQLite file) or a SQLAlchemy URL.
        plans: One per dataset, in the order they take turns.

    Raises:
        UserError: If the storage cannot be opened or was made with other settings.
    """

    def __init__(self, storage: str | Path, plans: Sequence[StudyPlan]) -> None:
        for plan in plans:
            check_sampler(plan.settings.sampler)
        self._plans = {plan.dataset: plan for plan in plans}
        self._url = storage_url(storage)
        self._storage = open_storage(self._url)
        self._studies = {plan.dataset: open_study(self._storage, plan) for plan in plans}
        self._rows: dict[str, _Row] = {}
        self._left_over: deque[_Row] = deque()

    def __deepcopy__(self, memo: dict[int, Any]) -> Studies:
        return self

    def __reduce__(self) -> tuple[type[Studies], tuple[str, list[StudyPlan]]]:
        return type(self), (self._url, list(self._plans.values()))

    @property
    def url(self) -> str:
        """Where the storage is: what `optuna.load_study` and `optuna-dashboard` take."""
        return self._url

    def planned(self, dataset: str) -> int:
        """Return how many trials the dataset's study will have in the end."""
        return self._plans[dataset].planned

    # What Ray's searcher and scheduler call -----------------------------------------------------

    def ask(self, ray_trial_id: str) -> TrialRequest | None:
        """Return the next trial to run, or None when every study has asked for all of its own.

        Trials a dead driver left come first, then the dataset that has asked for the fewest.
        """
        if self._left_over:
            row = self._left_over.popleft()
            self._seed_sampler(row.dataset, row.number)
            trial = optuna.Trial(self._studies[row.dataset], row.trial_id)
            return self._hand_out(ray_trial_id, row.dataset, trial)
        dataset = self._whose_turn()
        if dataset is None:
            return None
        self._seed_sampler(dataset, self._next_number(dataset))
        return self._hand_out(ray_trial_id, dataset, self._studies[dataset].ask())

    def report(
        self, ray_trial_id: str, epoch: int, value: float, epochs: int | None = None
    ) -> None:
        """Record the metric after an epoch. What was recorded before is kept as it was.

        Args:
            ray_trial_id: The trial.
            epoch: Counted from 1.
            value: The metric.
            epochs: How many the trial has; by default what the plan says.

        Raises:
            ValueError: If `value` is NaN or infinite.
        """
        if not math.isfinite(value):
            raise ValueError(f"the metric is {value} after epoch {epoch}")
        row = self._row(ray_trial_id)
        trial = self._storage.get_trial(row.trial_id)
        row.epoch = epoch
        if trial.state.is_finished():
            return
        if epoch not in trial.intermediate_values:
            self._storage.set_trial_intermediate_value(row.trial_id, epoch, value)
        if epoch >= (epochs or self._plans[row.dataset].epochs):
            self._storage.set_trial_user_attr(row.trial_id, _RAN_TO_THE_END, True)

    def should_prune(self, ray_trial_id: str) -> bool:
        """Tell whether to stop the trial after the epoch it reported last, and record it if so.

        A trial that runs again, through epochs it had reported before, is judged only from the
        furthest one on: the earlier ones have been judged.
        """
        row = self._row(ray_trial_id)
        trial = self._storage.get_trial(row.trial_id)
        if trial.state.is_finished() or (row.epoch or 0) < (trial.last_step or 0):
            return False
        study = self._studies[row.dataset]
        if not study.pruner.prune(study, trial):
            return False
        self._storage.set_trial_user_attr(row.trial_id, _STOPPED_AFTER, trial.last_step)
        return True

    def note_reason(self, ray_trial_id: str, reason: str) -> None:
        """Keep in mind why the trial raised an error, in case it turns out to be the end of it."""
        self._row(ray_trial_id).reason = reason

    def tell(
        self,
        ray_trial_id: str,
        outcome: Outcome,
        value: float | None = None,
        reason: str | None = None,
    ) -> None:
        """Record how the trial ended. A trial that has ended before stays as it was.

        Args:
            ray_trial_id: The trial.
            outcome: How it ended.
            value: Of a complete trial; by default what it reported last.
            reason: Why it failed; by default what `note_reason` was given last.

        Raises:
            ValueError: If a complete trial has no finite value.
        """
        self._tell(self._row(ray_trial_id), outcome, value, reason)

    def settle(self, ray_trial_id: str) -> Outcome | None:
        """Record how a trial that raised nothing ended, going by its record.

        Returns:
            Complete if it reported its last epoch, pruned if it was to be stopped, and None if it
            was interrupted: then it stays unfinished, for a later driver to run.
        """
        return self._settle(self._row(ray_trial_id))

    # What the runner calls ----------------------------------------------------------------------

    def reconcile(self) -> Reconciled:
        """Take over what a dead driver left unfinished; call it once, before the first `ask`.

        Trials whose end was decided but not recorded are settled. The others will be handed out
        again, with the same numbers and parameters, before anything new is asked.
        """
        settled, again = [], []
        for dataset, study in self._studies.items():
            for trial in study.get_trials(deepcopy=False, states=(TrialState.RUNNING,)):
                row = _Row(dataset, trial.number, trial._trial_id)
                if self._settle(row) is not None:
                    settled.append((dataset, trial.number))
                else:
                    again.append((dataset, trial.number))
                    self._left_over.append(row)
        return Reconciled(tuple(settled), tuple(again))

    def summary(self) -> dict[str, StudySummary]:
        """Return where each dataset's study stands."""
        return {name: summarise(study, self._plans[name]) for name, study in self._studies.items()}

    def best(self, dataset: str, k: int = 1) -> list[FinishedTrial]:
        """Return the `k` best trials that ran to the end, best first, each point once."""
        return best_trials(self._studies[dataset], self._plans[dataset], k)

    def ended(self) -> list[EndedTrial]:
        """Return every trial that is over, of all datasets."""
        return [
            trial
            for name, study in self._studies.items()
            for trial in ended_trials(study, self._plans[name])
        ]

    # Helpers ------------------------------------------------------------------------------------

    def _whose_turn(self) -> str | None:
        open_ones = [d for d in self._studies if self._asked(d) < self.planned(d)]
        return min(open_ones, key=self._asked, default=None)

    def _asked(self, dataset: str) -> int:
        trials = self._studies[dataset].get_trials(deepcopy=False)
        return sum(trial.state != TrialState.WAITING for trial in trials)

    def _next_number(self, dataset: str) -> int:
        trials = self._studies[dataset].get_trials(deepcopy=False)
        waiting = [trial.number for trial in trials if trial.state == TrialState.WAITING]
        return min(waiting, default=len(trials))

    def _seed_sampler(self, dataset: str, number: int) -> None:
        # A new sampler for each trial, seeded by its number: what it draws depends on the seed and
        # the study's history alone, not on how often the driver was started. Optuna's samplers
        # keep nothing in memory that they cannot work out from the history again.
        plan = self._plans[dataset]
        self._studies[dataset].sampler = make_sampler(
            plan.settings.sampler,
            seed=derive_seed(plan.seed, "sweep", dataset, f"sampler/{number}"),
            startup_trials=plan.settings.startup_trials,
        )

    def _hand_out(self, ray_trial_id: str, dataset: str, trial: optuna.Trial) -> TrialRequest:
        plan = self._plans[dataset]
        with quiet_optuna():
            params = sample(trial, plan.settings.space, plan.base_levels)
        trial.set_user_attr("ray_trial_id", ray_trial_id)
        self._rows[ray_trial_id] = _Row(dataset, trial.number, trial._trial_id)
        return TrialRequest(dataset, trial.number, params)

    def _row(self, ray_trial_id: str) -> _Row:
        if ray_trial_id not in self._rows:  # in a copy that opened the storage again
            for dataset, study in self._studies.items():
                for trial in study.get_trials(deepcopy=False):
                    if trial.user_attrs.get("ray_trial_id") == ray_trial_id:
                        row = _Row(dataset, trial.number, trial._trial_id, trial.last_step)
                        self._rows[ray_trial_id] = row
        return self._rows[ray_trial_id]

    def _settle(self, row: _Row) -> Outcome | None:
        trial = self._storage.get_trial(row.trial_id)
        if _RAN_TO_THE_END in trial.user_attrs:
            self._tell(row, "complete")
            return "complete"
        if _STOPPED_AFTER in trial.user_attrs:
            self._tell(row, "pruned")
            return "pruned"
        return None

    def _tell(
        self, row: _Row, outcome: Outcome, value: float | None = None, reason: str | None = None
    ) -> None:
        trial = self._storage.get_trial(row.trial_id)
        if trial.state.is_finished():
            return
        if outcome == "complete":
            if value is None and trial.last_step is not None:
                value = trial.intermediate_values[trial.last_step]
            if value is None or not math.isfinite(value):
                raise ValueError(f"a complete trial needs a finite value, got {value}")
        if outcome == "failed":
            why = reason or row.reason or "unknown error"
            self._storage.set_trial_user_attr(row.trial_id, "reason", why)
        with quiet_optuna():
            self._studies[row.dataset].tell(
                row.number, value if outcome == "complete" else None, state=_STATES[outcome]
            )
