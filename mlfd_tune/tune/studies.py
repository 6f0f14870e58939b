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
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Any

import optuna
from optuna.pruners import NopPruner
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
from mlfd_tune.tune.rows import BEGUN, RAN_TO_THE_END, STOPPED_AFTER, Row
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


# Samplers that draw no point from a model of the results before it.
_DRAW_BLINDLY = ("random", "grid")
# Samplers that draw so until `startup_trials` have ended.
_START_BLINDLY = ("tpe", "gp", "cmaes")


class Studies:
    """The studies of a sweep.

    Opening them creates what is missing and leaves the rest as it is. A driver that resumes calls
    `reconcile` next; nothing else may, because it takes every unfinished trial for abandoned.

    Nobody else may write to the storage meanwhile, so what was read or written once is not read
    again. Copies refer to the same object, and pickles open the storage again: Ray does both.

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
        self._asked: dict[str, int] = {}
        self._queued: dict[str, deque[int]] = {}
        for dataset, study in self._studies.items():
            trials = study.get_trials(deepcopy=False)
            queued = [trial.number for trial in trials if trial.state == TrialState.WAITING]
            self._queued[dataset] = deque(sorted(queued))
            self._asked[dataset] = len(trials) - len(queued)
        self._drawn: dict[tuple[str, int], Row] = {}
        self._rows: dict[str, Row] = {}
        self._left_over: deque[Row] = deque()

    def __deepcopy__(self, memo: dict[int, Any]) -> Studies:
        return self

    def __reduce__(self) -> tuple[Any, ...]:
        known = {ray_id: (row.dataset, row.number) for ray_id, row in self._rows.items()}
        return _reopened, (self._url, list(self._plans.values()), known)

    @property
    def url(self) -> str:
        """Where the storage is: what `optuna.load_study` and `optuna-dashboard` take."""
        return self._url

    def planned(self, dataset: str) -> int:
        """Return how many trials the dataset's study will have in the end."""
        return self._plans[dataset].planned

    # What Ray's searcher and scheduler call -----------------------------------------------------

    def ask(self, ray_trial_id: str) -> TrialRequest | None:
        """Return the next trial to run, or None when every study has asked for all of its own."""
        request = self.draw()
        if request is not None:
            self.hand_out(request, ray_trial_id)
        return request

    def draw(self, without: Collection[str] = ()) -> TrialRequest | None:
        """Return the next trial of a study, or None when there is none.

        Trials a dead driver left come first, then the dataset that has asked for the fewest. The
        trial counts as running from now on, whoever is to run it when.

        Args:
            without: Datasets whose studies are not to draw anything new.
        """
        if self._left_over:
            row = self._left_over.popleft()
            self._seed_sampler(row.dataset, row.number)
            return self._sampled(row, optuna.Trial(self._studies[row.dataset], row.trial_id))
        open_ones = [d for d in self._plans if d not in without and self._is_open(d)]
        if not open_ones:
            return None
        dataset = min(open_ones, key=self._asked.__getitem__)
        self._seed_sampler(dataset, self._next_number(dataset))
        trial = self._new_trial(dataset)
        self._asked[dataset] += 1
        return self._sampled(Row(dataset, trial.number, trial._trial_id), trial)

    def hand_out(self, request: TrialRequest, ray_trial_id: str) -> None:
        """Let a drawn trial be known to Ray by an id."""
        row = self._rows[ray_trial_id] = self._drawn.pop((request.dataset, request.number))
        if not row.begun:
            self._storage.set_trial_user_attr(row.trial_id, BEGUN, True)
            row.begun = True

    def draws_blindly(self, dataset: str) -> bool:
        """Tell whether the study's next trial does not depend on how those before it end."""
        settings = self._plans[dataset].settings
        return (
            bool(self._queued[dataset])
            or settings.sampler in _DRAW_BLINDLY
            or (
                settings.sampler in _START_BLINDLY
                and self._asked[dataset] < settings.startup_trials
            )
        )

    @property
    def exhausted(self) -> bool:
        """Whether every study has asked for all of its trials."""
        return not self._left_over and not any(map(self._is_open, self._plans))

    @property
    def datasets(self) -> tuple[str, ...]:
        """The datasets that are searched."""
        return tuple(self._plans)

    def knows(self, ray_trial_id: str) -> bool:
        """Tell whether the trial is one of these studies' own."""
        return ray_trial_id in self._rows

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
        row = self._rows[ray_trial_id]
        row.epoch = epoch
        if row.over:
            return
        if epoch not in row.reported:
            self._storage.set_trial_intermediate_value(row.trial_id, epoch, value)
            row.reported.add(epoch)
        if row.end is None and epoch >= (epochs or self._plans[row.dataset].epochs):
            self._storage.set_trial_user_attr(row.trial_id, RAN_TO_THE_END, True)
            row.end = "complete"

    def should_prune(self, ray_trial_id: str) -> bool:
        """Tell whether to stop the trial after the epoch it reported last, and record it if so.

        A trial that runs again, through epochs it had reported before, is judged only from the
        furthest one on: the earlier ones have been judged, and what was decided then holds.
        """
        row, last = self._rows[ray_trial_id], self._last_epoch(ray_trial_id)
        study = self._studies[row.dataset]
        if row.over or (row.epoch or 0) < last or isinstance(study.pruner, NopPruner):
            return False
        if row.stop_after is None:
            if not study.pruner.prune(study, self._storage.get_trial(row.trial_id)):
                return False
            self._storage.set_trial_user_attr(row.trial_id, STOPPED_AFTER, last)
            row.stop_after = last
        row.end = row.end or "pruned"
        return True

    def note_reason(self, ray_trial_id: str, reason: str) -> None:
        """Keep in mind why the trial raised an error, in case it turns out to be the end of it."""
        self._rows[ray_trial_id].reason = reason

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
        self._tell(self._rows[ray_trial_id], outcome, value, reason)

    def settle(self, ray_trial_id: str) -> Outcome | None:
        """Record how a trial that raised nothing ended, going by its record.

        Returns:
            Complete if it reported its last epoch, pruned if it was to be stopped, and None if it
            was interrupted: then it stays unfinished, for a later driver to run.
        """
        return self._settle(self._rows[ray_trial_id])

    # What the runner calls ----------------------------------------------------------------------

    def reconcile(self) -> Reconciled:
        """Take over what a dead driver left unfinished; call it once, before the first `ask`.

        Trials that ran to the end are settled. The others will be handed out again, with the same
        numbers and parameters, before anything new is asked.
        """
        settled: list[tuple[str, int]] = []
        left: list[Row] = []
        for dataset, study in self._studies.items():
            for trial in study.get_trials(deepcopy=False, states=(TrialState.RUNNING,)):
                row = Row.of(dataset, trial)
                if self._settle(row) is not None:
                    settled.append((dataset, trial.number))
                else:
                    left.append(row)
        self._left_over.extend(sorted(left, key=lambda row: not row.begun))
        again = [(row.dataset, row.number) for row in self._left_over]
        begun = [(row.dataset, row.number) for row in left if row.begun]
        return Reconciled(tuple(settled), tuple(again), tuple(begun))

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

    def _new_trial(self, dataset: str) -> optuna.Trial:
        study = self._studies[dataset]
        if self._queued[dataset]:
            self._queued[dataset].popleft()
            return study.ask()
        # As `Study.ask` does, but for its look for queued trials, which reads all that are open.
        return optuna.Trial(study, self._storage.create_new_trial(study._study_id))

    def _is_open(self, dataset: str) -> bool:
        return self._asked[dataset] < self.planned(dataset)

    def _next_number(self, dataset: str) -> int:
        queued = self._queued[dataset]
        return queued[0] if queued else self._asked[dataset]

    def _last_epoch(self, ray_trial_id: str) -> int:
        return max(self._rows[ray_trial_id].reported, default=0)

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

    def _sampled(self, row: Row, trial: optuna.Trial) -> TrialRequest:
        plan = self._plans[row.dataset]
        with quiet_optuna():
            params = sample(trial, plan.settings.space, plan.base_levels)
        self._drawn[row.dataset, row.number] = row
        return TrialRequest(row.dataset, row.number, params)

    def _settle(self, row: Row) -> Outcome | None:
        if row.end is not None:
            self._tell(row, row.end)
        return row.end

    def _tell(
        self, row: Row, outcome: Outcome, value: float | None = None, reason: str | None = None
    ) -> None:
        if row.over:
            return
        if outcome == "complete":
            if value is None and row.reported:
                trial = self._storage.get_trial(row.trial_id)
                value = trial.intermediate_values[max(row.reported)]
            if value is None or not math.isfinite(value):
                raise ValueError(f"a complete trial needs a finite value, got {value}")
        if outcome == "failed":
            why = reason or row.reason or "unknown error"
            self._storage.set_trial_user_attr(row.trial_id, "reason", why)
        with quiet_optuna():
            self._studies[row.dataset].tell(
                row.number, value if outcome == "complete" else None, state=_STATES[outcome]
            )
        row.over = True


def _reopened(url: str, plans: Sequence[StudyPlan], known: dict[str, tuple[str, int]]) -> Studies:
    """Return studies opened again, with the trials that Ray knew."""
    studies = Studies(url, plans)
    for ray_id, (dataset, number) in known.items():
        (trial,) = (t for t in studies._studies[dataset].trials if t.number == number)
        row = studies._rows[ray_id] = Row.of(dataset, trial)
        row.epoch = trial.last_step
    return studies
