"""What of an experiment's features and targets is stored: `store.cache`, or what fits."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import torch

from mlfd_tune.core.cache_plan import plan_cache
from mlfd_tune.core.caching import Caching
from mlfd_tune.core.errors import UserError
from mlfd_tune.core.stages import TrialStage
from mlfd_tune.core.store import Stage
from mlfd_tune.tune.session import Experiment
from mlfd_tune.tune.trial import TrialRequestConfig, student_of

__all__ = ["planned_caching", "with_caching"]


def with_caching(experiment: Experiment) -> Experiment:
    """Return the experiment with a plan of what it stores."""
    caching = planned_caching(experiment, experiment.plan())
    return replace(experiment, context=replace(experiment.context, caching=caching))


def planned_caching(experiment: Experiment, stages: Sequence[Stage]) -> Caching:
    """Return what an experiment stores of features and targets, and why.

    Args:
        experiment: The experiment, with no plan yet.
        stages: Its shared stages (`Experiment.plan`), all of them stored.
    """
    settings, context = experiment.loaded.config.store, experiment.context
    students: dict[TrialStage, int] = {}
    for target, phases in experiment.trial_counts().items():
        try:
            student = student_of(context, TrialRequestConfig("", target, {}))
        except UserError:  # where every trial has a value of its own in place of one that fails
            continue
        students[student] = sum(phases.values())
    return plan_cache(
        settings.cache,
        stages,
        students,
        context.store,
        memory_bytes=settings.memory_bytes,
        device="cuda" if torch.cuda.is_available() else "cpu",
    )
