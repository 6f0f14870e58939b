"""Sweeps through a real Ray Tuner end with the truth in the Optuna storage."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import optuna
import pytest
from optuna.trial import FrozenTrial, TrialState

from mlfd_tune.tune.searcher import Phase
from mlfd_tune.tune.sources import PlannedSource
from mlfd_tune.tune.studies import Studies
from mlfd_tune.tune.trial import TrialRequestConfig
from tests.helpers import curve_sweep
from tests.helpers.curve_sweep import DATASETS, plans, ray_for_curves, run_phases, run_sweep
from tests.helpers.learning_curve import EPOCHS


@pytest.fixture(scope="module", autouse=True)
def ray_address() -> Iterator[str]:
    with ray_for_curves() as address:
        yield address


def trials_of(studies: Studies, dataset: str) -> list[FrozenTrial]:
    return optuna.load_study(study_name=dataset, storage=studies.url).trials


def test_two_datasets_share_a_tuner_and_each_keeps_a_true_record(tmp_path: Path) -> None:
    studies = Studies(tmp_path / "studies.db", plans())

    results = run_sweep(studies, tmp_path)

    assert len(results) == 16
    for dataset in DATASETS:
        trials = trials_of(studies, dataset)
        assert len(trials) == 8
        assert {t.state for t in trials} == {TrialState.COMPLETE, TrialState.PRUNED}
        for trial in trials:
            last = trial.last_step or 0
            assert list(trial.intermediate_values) == list(range(1, last + 1))
            assert (trial.state == TrialState.COMPLETE) == (last == EPOCHS)
            assert trial.value == pytest.approx(60 - 10 * trial.params["distillation.alpha"] + last)


def test_trouble_ends_a_trial_with_its_reason_and_the_sweep_goes_on(tmp_path: Path) -> None:
    studies = Studies(tmp_path / "studies.db", plans(("digits",), trials=6, scheduler="none"))
    trouble = {
        0: (2, "raise"),
        1: (1, "forget the metric"),
        2: (3, "report nan"),
        3: (EPOCHS, "report nan"),
        4: (2, "die"),
        5: (2, "raise once"),
    }

    constants = {"break": trouble, "marker": str(tmp_path / "marker")}
    results = run_sweep(studies, tmp_path, constants, retries=1)

    trials = trials_of(studies, "digits")
    assert [t.state for t in trials] == [TrialState.FAIL] * 5 + [TrialState.COMPLETE]
    reasons = [t.user_attrs["reason"] for t in trials[:5]]
    assert reasons[0] == "RuntimeError: out of memory on this worker, try a smaller batch"
    assert reasons[1] == "no 'val/acc1' in the result"
    assert reasons[2] == "the metric is nan after epoch 3"
    assert reasons[3] == f"the metric is nan after epoch {EPOCHS}"
    assert "the worker's process died" in reasons[4]
    failed = {r.config["id"] for r in results if r.error and r.config}
    # Ray tells nobody of a last result before it has taken the trial for finished.
    assert failed == {f"trial/digits/{number}" for number in (0, 1, 2, 4)}
    assert [t.last_step for t in trials] == [1, None, 2, EPOCHS - 1, 1, EPOCHS]
    assert "reason" not in trials[5].user_attrs


def test_one_seed_on_one_worker_draws_the_same_points(tmp_path: Path) -> None:
    def sweep(name: str) -> list[dict[str, Any]]:
        studies = Studies(tmp_path / f"{name}.db", plans(("digits",), trials=6, startup_trials=2))
        run_sweep(studies, tmp_path / name, slots=1)
        return [t.params for t in trials_of(studies, "digits")]

    assert sweep("first") == sweep("second")


def test_a_sweep_stopped_by_a_time_budget_is_finished_by_the_next_driver(tmp_path: Path) -> None:
    storage = tmp_path / "studies.db"
    slow = {"seconds_per_epoch": 0.15}
    run_sweep(Studies(storage, plans()), tmp_path, slow, time_budget_s=3)

    studies = Studies(storage, plans())
    left = studies.reconcile().again
    run_sweep(studies, tmp_path)

    assert left
    for summary in studies.summary().values():
        assert summary.complete + summary.pruned == summary.planned == 8


@pytest.mark.slow
def test_a_killed_driver_loses_nothing_and_nothing_runs_twice(
    tmp_path: Path, ray_address: str
) -> None:
    driver = subprocess.Popen([sys.executable, curve_sweep.__file__, str(tmp_path), ray_address])
    watched = Studies(tmp_path / "studies.db", plans())
    try:
        wait_for_work_in_progress(watched, driver)
    finally:
        driver.send_signal(signal.SIGKILL)
        driver.wait()
    before = {d: trials_of(watched, d) for d in DATASETS}

    studies = Studies(tmp_path / "studies.db", plans())
    reconciled = studies.reconcile()
    results = run_sweep(studies, tmp_path)

    assert reconciled.again
    ran = Counter(r.config["id"] for r in results if r.config)
    assert set(ran.values()) == {1}
    for dataset in DATASETS:
        after = trials_of(studies, dataset)
        assert [t.number for t in after] == list(range(8))
        assert all(t.state in (TrialState.COMPLETE, TrialState.PRUNED) for t in after)
        for old, new in zip(before[dataset], after, strict=False):
            assert old.params.items() <= new.params.items()
            assert old.intermediate_values.items() <= new.intermediate_values.items()
            if old.state.is_finished():
                assert old == new
                assert f"trial/{dataset}/{old.number}" not in ran
            assert new.value == new.intermediate_values[new.last_step or 0]


def wait_for_work_in_progress(studies: Studies, driver: subprocess.Popen[bytes]) -> None:
    """Wait until some trials have ended and one is under way."""
    deadline = time.monotonic() + 240
    while time.monotonic() < deadline:
        assert driver.poll() is None, "the driver ended before it could be killed"
        trials = [t for d in DATASETS for t in trials_of(studies, d)]
        ended = sum(t.state.is_finished() for t in trials)
        under_way = any(t.state == TrialState.RUNNING and t.intermediate_values for t in trials)
        if ended >= 2 and under_way:
            return
        time.sleep(0.1)
    raise AssertionError("the driver made no headway")


def test_planned_trials_run_once_each_in_order(tmp_path: Path) -> None:
    alphas = [0.5, 1.0, 1.5]
    requests = [
        TrialRequestConfig(f"arm/{i}", "digits", {"distillation.alpha": alpha})
        for i, alpha in enumerate(alphas)
    ]

    results = run_phases([Phase(PlannedSource(requests))], tmp_path, slots=1)

    assert [r.config["id"] for r in results if r.config] == ["arm/0", "arm/1", "arm/2"]
    assert [r.metrics["val/acc1"] for r in results if r.metrics] == [64.0, 59.0, 54.0]
