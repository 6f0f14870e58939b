"""Where a study stands: how its trials ended and which are best."""

from __future__ import annotations

import optuna
from optuna.trial import FrozenTrial, TrialState

from mlfd_tune.tune.plans import StudyPlan
from mlfd_tune.tune.records import EndedTrial, FinishedTrial, Outcome, StudySummary
from mlfd_tune.tune.space import sample

__all__ = ["best_trials", "ended_trials", "summarise"]


def summarise(study: optuna.Study, plan: StudyPlan) -> StudySummary:
    """Count the study's trials by state and name the best."""
    states = [trial.state for trial in study.get_trials(deepcopy=False)]
    return StudySummary(
        planned=plan.planned,
        complete=states.count(TrialState.COMPLETE),
        pruned=states.count(TrialState.PRUNED),
        failed=states.count(TrialState.FAIL),
        running=states.count(TrialState.RUNNING),
        waiting=states.count(TrialState.WAITING),
        best=next(iter(best_trials(study, plan, 1)), None),
    )


def best_trials(study: optuna.Study, plan: StudyPlan, k: int) -> list[FinishedTrial]:
    """Return the `k` best trials that ran to the end, best first, each point once.

    Of equal trials the earlier is better.
    """
    trials = study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))
    best: list[FinishedTrial] = []
    for trial in sorted(trials, key=lambda t: (-_value(t), t.number)):
        params = sample(trial, plan.settings.space, plan.base_levels)
        if all(params != other.params for other in best):
            best.append(FinishedTrial(plan.dataset, trial.number, params, _value(trial)))
    return best[:k]


def ended_trials(study: optuna.Study, plan: StudyPlan) -> list[EndedTrial]:
    """Return every trial that is over."""
    outcomes: dict[TrialState, Outcome] = {
        TrialState.COMPLETE: "complete",
        TrialState.PRUNED: "pruned",
        TrialState.FAIL: "failed",
    }
    return [
        EndedTrial(
            plan.dataset,
            trial.number,
            sample(trial, plan.settings.space, plan.base_levels),
            outcomes[trial.state],
            trial.last_step or 0,
            trial.user_attrs.get("reason"),
        )
        for trial in study.get_trials(deepcopy=False, states=tuple(outcomes))
    ]


def _value(trial: FrozenTrial) -> float:
    assert trial.value is not None  # Optuna sets it for complete trials
    return trial.value
