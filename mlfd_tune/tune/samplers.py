"""Samplers: what proposes the next point of a study."""

from __future__ import annotations

import importlib.util
import warnings

import optuna
from optuna.samplers import (
    BaseSampler,
    CmaEsSampler,
    GPSampler,
    NSGAIISampler,
    RandomSampler,
    TPESampler,
)

from mlfd_tune.config.search import SamplerName
from mlfd_tune.core.errors import UserError

__all__ = ["check_sampler", "make_sampler"]


def check_sampler(name: SamplerName) -> None:
    """Check that the packages the sampler needs are installed.

    Raises:
        UserError: If one is missing.
    """
    if name == "cmaes" and importlib.util.find_spec("cmaes") is None:
        raise UserError("sampler: cmaes needs the package 'cmaes': pip install cmaes")


def make_sampler(name: SamplerName, seed: int, startup_trials: int) -> BaseSampler:
    """Build a sampler.

    Args:
        name: Which one. For `grid` the points are all enqueued beforehand, so what is returned
            never draws one.
        seed: Of all its draws; any non-negative number.
        startup_trials: Random trials before a model is used.

    Raises:
        UserError: If the package the sampler needs is not installed.
    """
    check_sampler(name)
    seed %= 2**32  # NumPy's legacy generators take no more
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        match name:
            case "tpe":
                return TPESampler(
                    seed=seed,
                    n_startup_trials=startup_trials,
                    multivariate=True,
                    group=True,  # conditional parameters are modelled where they exist
                    constant_liar=True,  # points under way in parallel are not proposed again
                )
            case "gp":
                return GPSampler(
                    seed=seed, n_startup_trials=startup_trials, warn_independent_sampling=False
                )
            case "cmaes":
                return CmaEsSampler(
                    seed=seed, n_startup_trials=startup_trials, warn_independent_sampling=False
                )
            case "nsgaii":
                return NSGAIISampler(seed=seed)
            case "random" | "grid":
                return RandomSampler(seed=seed)
