"""Confirmation: the best configurations again, on fresh seeds, next to baseline and control."""

from __future__ import annotations

from collections.abc import Iterator

from mlfd_tune.config import Loaded, SweepConfig
from mlfd_tune.tune.engine import PlannedTrial
from mlfd_tune.tune.run_log import config_id, run_settings
from mlfd_tune.tune.studies import Studies
from mlfd_tune.tune.trial import TrialRequestConfig

__all__ = ["CONTROLS", "confirmation_methods", "confirmation_trials"]

CONTROLS = ("none", "own_teacher")
"""What every confirmed configuration stands next to: baseline and own-teacher control."""


def confirmation_methods(config: SweepConfig, method: str) -> list[str]:
    """Return what is trained on each seed for a configuration of `method`, itself first."""
    return list(dict.fromkeys((method, *CONTROLS, *config.confirm.compare)))


def confirmation_trials(loaded: Loaded, studies: Studies) -> list[PlannedTrial]:
    """Return the trainings that confirm the best of every study.

    Each configuration is trained at full budget on fresh seeds. On the same seeds, so with the
    same initialisation, data order and number of steps, stand the dataset-specific baseline, the
    own-teacher control and what else is to be compared. Only these read the test split.
    """
    config = loaded.config
    assert isinstance(config, SweepConfig)
    return [
        trial
        for target in config.target_names
        for rank, found in enumerate(studies.best(target, config.confirm.top_k), start=1)
        for trial in _one_configuration(loaded, target, rank, found.params)
    ]


def _one_configuration(
    loaded: Loaded, target: str, rank: int, params: dict[str, object]
) -> Iterator[PlannedTrial]:
    config = loaded.config
    assert isinstance(config, SweepConfig)
    settings = run_settings(loaded.raw, TrialRequestConfig("", target, params))
    own_id = config_id(settings, target, settings.method)
    first_seed = settings.student_seed(target) + 1  # the search has seen the settings' own seed
    for seed in range(first_seed, first_seed + config.confirm.seeds):
        for method in confirmation_methods(config, settings.method):
            request = TrialRequestConfig(
                id=f"confirm/{target}/{rank}/{method}/{seed}",
                dataset=target,
                params=params,
                method=method,
                seed=seed,
                test=True,
            )
            yield PlannedTrial(request, baseline_of=None if method == settings.method else own_id)
