"""A driver that is killed or interrupted in mid-sweep loses nothing that was finished."""

from __future__ import annotations

import signal
import sqlite3
import subprocess
import time
from pathlib import Path

import optuna
import pytest
from mlflow import MlflowClient
from mlflow.entities import Run
from optuna.trial import FrozenTrial, TrialState

from tests.helpers.command import ENVIRONMENT, command, mlfd_tune, write_yaml
from tests.helpers.experiments import TRAIN, tiny_sweep

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("resume")]

TRIALS = 6
OVER = (TrialState.COMPLETE, TrialState.PRUNED)


def test_a_killed_and_an_interrupted_sweep_go_on_where_they_were(tmp_path: Path) -> None:
    content = tiny_sweep(student={"train": {**TRAIN, "epochs": 12}})
    content["search"]["trials"] = TRIALS
    write_yaml(tmp_path / "tiny.yaml", content)

    driver = start(tmp_path)
    killed = wait_for_trials(tmp_path, driver, at_least=2)
    driver.send_signal(signal.SIGKILL)
    driver.wait()

    driver = start(tmp_path, "--resume")
    interrupted = wait_for_trials(tmp_path, driver, at_least=len(killed) + 2)
    driver.send_signal(signal.SIGTERM)  # SIGINT would be ignored where tests run in the background
    assert driver.wait(timeout=120) == 130
    assert "RUNNING" not in {run.info.status for run in all_runs(tmp_path)}
    assert len(interrupted) < 2 * TRIALS

    mlfd_tune("run", "tiny.yaml", "--resume", cwd=tmp_path)

    after = all_trials(tmp_path)
    assert len(after) == 2 * TRIALS
    assert all(trial.state in OVER for trial in after.values())
    for key, trial in (killed | interrupted).items():
        assert after[key].datetime_complete == trial.datetime_complete  # not run again

    runs = all_runs(tmp_path)
    kinds = [run.data.tags["mlfd.kind"] for run in runs]
    assert kinds.count("sweep") == 1
    assert kinds.count("trial") == 2 * TRIALS
    assert {run.info.status for run in runs} <= {"FINISHED", "KILLED"}
    names = [run.info.run_name for run in runs]
    assert len(names) == len(set(names))
    for run in runs:
        history = client(tmp_path).get_metric_history(run.info.run_id, "val/acc1")
        steps = [metric.step for metric in history]
        assert steps == sorted(set(steps))  # no epoch is logged twice


def test_there_is_nothing_to_resume_after_a_whole_run(tmp_path: Path) -> None:
    write_yaml(tmp_path / "tiny.yaml", tiny_sweep())
    done = mlfd_tune("run", "tiny.yaml", "--resume", cwd=tmp_path, expect=2)
    assert "no unfinished run" in done.stderr


def start(folder: Path, *options: str) -> subprocess.Popen[bytes]:
    with (folder / "driver.log").open("w") as log:
        return subprocess.Popen(
            command("run", "tiny.yaml", *options),
            cwd=folder,
            env=ENVIRONMENT,
            stdout=log,
            stderr=subprocess.STDOUT,
        )


def wait_for_trials(
    folder: Path, driver: subprocess.Popen[bytes], at_least: int
) -> dict[tuple[str, int], FrozenTrial]:
    """Wait until some trials are over while others run; return those that are over."""
    until = time.monotonic() + 300
    while time.monotonic() < until:
        assert driver.poll() is None, (folder / "driver.log").read_text()
        trials = all_trials(folder)
        over = {key: trial for key, trial in trials.items() if trial.state in OVER}
        running = any(trial.state == TrialState.RUNNING for trial in trials.values())
        if len(over) >= at_least and running:
            return over
        time.sleep(0.1)
    raise AssertionError("too few trials ended in five minutes")


def is_ready(storage: Path) -> bool:
    """Tell whether the driver has made its studies: Optuna, asked earlier, would make the tables.

    Two processes that make them at the same moment get in each other's way.
    """
    with sqlite3.connect(f"file:{storage}?mode=ro", uri=True) as connection:
        try:
            (studies,) = connection.execute("SELECT count(*) FROM studies").fetchone()
        except sqlite3.OperationalError:  # no such table yet, or locked
            return False
    return bool(studies == 2)


def all_trials(folder: Path) -> dict[tuple[str, int], FrozenTrial]:
    found = {}
    for storage in filter(is_ready, folder.glob("runs/tiny/*/studies.db")):
        for name in ("digits", "photos"):
            try:
                study = optuna.load_study(study_name=name, storage=f"sqlite:///{storage}")
            except Exception:  # the driver is just making it
                continue
            found |= {(name, trial.number): trial for trial in study.trials}
    return found


def client(folder: Path) -> MlflowClient:
    return MlflowClient(f"sqlite:///{folder / 'mlflow.db'}")


def all_runs(folder: Path) -> list[Run]:
    experiment = client(folder).get_experiment_by_name("tiny")
    return list(client(folder).search_runs([experiment.experiment_id], max_results=1000))
