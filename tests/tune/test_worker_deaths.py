"""A worker that dies, at whatever moment, harms no trial but its own, and never the sweep."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import optuna
import pytest
from optuna.trial import FrozenTrial, TrialState

from mlfd_tune.tune.failures import FAILURES, Failure, Failures
from mlfd_tune.tune.studies import Studies
from tests.helpers.curve_sweep import plans, ray_for_curves, run_sweep
from tests.helpers.learning_curve import EPOCHS


def sweep(
    folder: Path, trials: int, constants: dict[str, Any], slots: int = 1
) -> list[FrozenTrial]:
    planned = plans(("digits",), trials=trials, scheduler="none", sampler="random")
    studies = Studies(folder / "studies.db", planned)
    run_sweep(studies, folder, {"marker": str(folder / "marker"), **constants}, slots, retries=1)
    return optuna.load_study(study_name="digits", storage=studies.url).trials


@pytest.mark.slow
def test_a_worker_that_dies_with_nothing_to_do_takes_no_trial_along(tmp_path: Path) -> None:
    with ray_for_curves():
        trials = sweep(tmp_path, 3, {"break": {1: (0, "die idle")}})

    assert (tmp_path / "marker").exists(), "it died"
    assert [trial.state for trial in trials] == [TrialState.COMPLETE] * 3
    assert [trial.last_step for trial in trials] == [EPOCHS] * 3
    assert not (tmp_path / FAILURES).exists(), "no trial failed"


@pytest.mark.slow
def test_a_worker_whose_trial_failed_goes_on_with_the_next(tmp_path: Path) -> None:
    studies = Studies(tmp_path / "studies.db", plans(("digits",), trials=3, scheduler="none"))
    with ray_for_curves():
        results = run_sweep(studies, tmp_path, {"break": {1: (2, "report nan")}}, slots=1)

    assert [bool(result.error) for result in results] == [False, True, False]
    assert len({result.metrics["pid"] for result in results if result.metrics}) == 1


@pytest.mark.slow
def test_when_ray_kills_workers_for_want_of_memory_the_sweep_goes_on(tmp_path: Path) -> None:
    # Ray finds the machine full whatever is free, and kills what runs: workers that train, mostly.
    full = {"RAY_memory_usage_threshold": "0.0001", "RAY_memory_monitor_refresh_ms": "8000"}
    with ray_for_curves(**full):
        trials = sweep(tmp_path, 2, {"seconds_per_epoch": 5}, slots=2)

    assert [trial.state for trial in trials] == [TrialState.FAIL] * 2
    for trial in trials:
        assert trial.user_attrs["reason"].startswith("out of memory: the machine ran short (")
        assert trial.user_attrs["reason"].endswith(" in use), and Ray killed this worker")


@pytest.mark.slow
def test_a_trial_that_failed_under_another_driver_fails_once_more_and_no_more(
    tmp_path: Path,
) -> None:
    before = Failure("trial/digits/0", None, "died", "the worker's process died")
    Failures(tmp_path / FAILURES, retries=1).add(before)
    with ray_for_curves():
        trials = sweep(tmp_path, 2, {"break": {0: (2, "raise once")}})

    assert [trial.state for trial in trials] == [TrialState.FAIL, TrialState.COMPLETE]
    assert trials[0].user_attrs["reason"] == "RuntimeError: the worker was preempted"
