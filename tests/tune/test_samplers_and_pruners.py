"""Samplers and pruners are built from settings, quietly."""

from __future__ import annotations

import importlib.util
import warnings

import optuna
import pytest

from mlfd_tune.config.search import SamplerName, SchedulerName
from mlfd_tune.core.errors import UserError
from mlfd_tune.tune.pruners import make_pruner
from mlfd_tune.tune.samplers import make_sampler
from tests.helpers.curve_sweep import settings

HAS_CMAES = importlib.util.find_spec("cmaes") is not None


@pytest.mark.parametrize("name", ["tpe", "random", "gp", "nsgaii", "grid"])
def test_samplers_take_long_seeds_and_warn_of_nothing(name: SamplerName) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        sampler = make_sampler(name, seed=2**62 + 1, startup_trials=2)

    assert isinstance(sampler, optuna.samplers.BaseSampler)


@pytest.mark.skipif(HAS_CMAES, reason="the package is installed")
def test_cmaes_without_its_package_says_what_to_install() -> None:
    with pytest.raises(UserError, match="pip install cmaes"):
        make_sampler("cmaes", seed=0, startup_trials=2)


@pytest.mark.skipif(not HAS_CMAES, reason="the package is not installed")
def test_cmaes_is_built_where_its_package_is_installed() -> None:
    sampler = make_sampler("cmaes", seed=0, startup_trials=2)

    assert isinstance(sampler, optuna.samplers.CmaEsSampler)


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("asha", optuna.pruners.SuccessiveHalvingPruner),
        ("hyperband", optuna.pruners.HyperbandPruner),
        ("median", optuna.pruners.MedianPruner),
        ("none", optuna.pruners.NopPruner),
    ],
)
def test_pruners_are_built_quietly(name: SchedulerName, kind: type) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert isinstance(make_pruner(settings(scheduler=name), epochs=9), kind)


def test_a_grace_period_longer_than_a_trial_is_refused() -> None:
    with pytest.raises(UserError, match="grace_epochs: 4 is more than the 3 epochs"):
        make_pruner(settings(grace_epochs=4), epochs=3)

    make_pruner(settings(grace_epochs=4, scheduler="none"), epochs=3)
