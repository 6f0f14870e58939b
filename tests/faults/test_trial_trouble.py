"""Trials that misbehave: each ends with its reason everywhere, and the sweep goes on."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import optuna
import pytest
import torch
from optuna.trial import FrozenTrial, TrialState

from mlfd_tune.tracking import leaderboard
from tests.helpers.faults.checks import Snapshot, check_artifacts, check_leaks, check_states
from tests.helpers.faults.misbehaving import environment, install
from tests.helpers.faults.record import Held
from tests.helpers.faults.sweep import NAME, Driver, fault_sweep, prepare

KEY = "method_options.trouble"
RESOURCES = {"workers": 2, "trial_timeout": "20s", "max_worker_memory": "2500MB"}


def sweep(troubles: Sequence[str], **changes: Any) -> dict[str, Any]:
    """Return a sweep whose trials make these troubles in this order."""
    search = {
        "trials": len(troubles),
        "sampler": "random",
        "scheduler": "none",
        "space": {KEY: {"choice": [*dict.fromkeys(["none", *troubles])]}},
        "first_points": [{KEY: trouble} for trouble in troubles],
    }
    content = fault_sweep(targets=["digits"], method="trouble", search=search, resources=RESOURCES)
    return {**content, "confirm": {"top_k": 0, "seeds": 2}, **changes}


@dataclass(frozen=True)
class Ended:
    """What is left of a sweep of trouble: its folder, the terminal, and its trials in order."""

    folder: Path
    output: str
    trials: Sequence[FrozenTrial]

    @property
    def said(self) -> str:
        """What was printed, on one line."""
        return " ".join(self.output.split())

    def reason(self, trouble: str) -> str:
        """Return why the first trial of a kind failed, having seen that all agree on it."""
        number, trial = next((i, t) for i, t in enumerate(self.trials) if t.params[KEY] == trouble)
        assert trial.state == TrialState.FAIL
        return self._told_everywhere(number)

    def _told_everywhere(self, number: int) -> str:
        reason = str(self.trials[number].user_attrs["reason"])
        rows = leaderboard(f"sqlite:///{self.folder}/mlflow.db", NAME, status="failed")
        assert any(reason in str(row.reason) for row in rows)
        assert f"trial/digits/{number} failed: {reason}" in self.said
        return reason


def run(folder: Path, database: Path, content: dict[str, Any]) -> Ended:
    install(prepare(folder, database, content))
    with Driver(folder, environment=environment(folder)) as driver:
        assert driver.wait(600) == 0, driver.output
    (studies,) = folder.glob("runs/*/*/studies.db")
    study = optuna.load_study(study_name="digits", storage=f"sqlite:///{studies}")
    return Ended(folder, driver.output, study.trials)


TROUBLES = (
    "hang",
    "nan",
    "explode",
    "raise",
    "raise_once",
    "setup",
    "leave",
    "leak",
    "die",
    "none",
    "out_of_memory",
    "raise",
)


@pytest.mark.slow
def test_trouble_of_every_kind_in_one_sweep(
    tmp_path: Path, empty_database: Path, held: Held
) -> None:
    held.fault = "trials: NaN, inf, exceptions, out of memory, hang, leak, dead workers"
    before = Snapshot.take()

    ended = run(tmp_path, empty_database, sweep(TROUBLES))

    with held("states"):
        check_states(tmp_path)
        assert [trial.params[KEY] for trial in ended.trials] == [*TROUBLES]
    with held("told"):
        assert ended.reason("nan").startswith("NonFiniteLossError: train/loss")
        assert ended.reason("explode").startswith("NonFiniteLossError: train/loss")
        assert ended.reason("raise") == "RuntimeError: no such luck"
        assert ended.reason("setup") == "ValueError: nothing fits"
        assert "CUDA out of memory" in ended.reason("out_of_memory")
        assert "(resources.trial_timeout): its worker was killed" in ended.reason("hang")
        assert "more than resources.max_worker_memory allows" in ended.reason("leak")
        assert "the worker's process died" in ended.reason("die")
        assert "RuntimeError: bad luck this once; tried again" in ended.said
    with held("goes on"):
        states = {trial.params[KEY]: trial.state for trial in ended.trials}
        complete = [name for name, state in states.items() if state == TrialState.COMPLETE]
        assert complete == ["raise_once", "leave", "none"]
    with held("best"):
        values = [t.value for t in ended.trials if t.state == TrialState.COMPLETE]
        assert len(set(values)) == 1, "trouble that is over changes no number"
    with held("artifacts"):
        check_artifacts(tmp_path)
        assert len(list(tmp_path.glob(".mlfd/store/artifacts/baseline/*"))) == 3
    with held("leaks"):
        check_leaks(before, tmp_path)
    # What fails for certain is not tried again, nor is what has failed twice.
    (failures,) = tmp_path.glob("runs/*/*/failures.jsonl")
    tries = [json.loads(line)["work"] for line in failures.read_text().split("\n") if line]
    number = {trouble: str(TROUBLES.index(trouble)) for trouble in TROUBLES}
    assert tries.count(f"trial/digits/{number['nan']}") == 1
    assert tries.count(f"trial/digits/{number['raise']}") == 2
    assert tries.count(f"trial/digits/{len(TROUBLES) - 1}") == 0
    again = "not tried again: failed twice before (RuntimeError: no such luck)"
    assert ended.trials[-1].user_attrs["reason"] == again
    assert "a worker that held" in ended.said, "what a trial has left behind is given back"


@pytest.mark.slow
@pytest.mark.whole_matrix
def test_a_stage_whose_worker_is_frozen_is_computed_by_another(
    tmp_path: Path, empty_database: Path, held: Held
) -> None:
    held.fault = "worker frozen while a stage is computed"
    before = Snapshot.take()
    datasets = {"digits": {"source": "frozen_once", "train_size": 80}}

    ended = run(tmp_path, empty_database, sweep(["none", "none"], datasets=datasets, teachers={}))

    assert (tmp_path / "trouble" / "frozen").exists()
    with held("states"):
        check_states(tmp_path)
    with held("goes on"):
        assert {trial.state for trial in ended.trials} == {TrialState.COMPLETE}
    with held("told"):
        assert "dataset digits has shown no progress for" in ended.said
        assert "(resources.trial_timeout): its worker was killed; tried again" in ended.said
    with held("artifacts", "leaks"):
        check_artifacts(tmp_path)
        check_leaks(before, tmp_path)


@pytest.mark.slow
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_a_gpu_that_is_out_of_memory_fails_its_trial_alone(
    tmp_path: Path, empty_database: Path, held: Held
) -> None:
    held.fault = "out of memory on a GPU"

    ended = run(tmp_path, empty_database, sweep(["real_out_of_memory", "none"]))

    with held("states"):
        check_states(tmp_path)
    with held("told"):
        assert "torch.OutOfMemoryError: CUDA out of memory" in ended.reason("real_out_of_memory")
    with held("goes on"):
        assert ended.trials[1].state == TrialState.COMPLETE
