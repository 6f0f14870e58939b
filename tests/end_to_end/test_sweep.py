"""The main job on real images: sweep, reuse, leaderboard, export, training from the export."""

from __future__ import annotations

import csv
import io
import json
import re
from dataclasses import dataclass
from pathlib import Path

import optuna
import pytest
import yaml
from mlflow import MlflowClient
from mlflow.entities import Run
from optuna.trial import TrialState
from safetensors.torch import load_file

from mlfd_tune.tune.timeline import Session, read_timeline
from tests.helpers.command import mlfd_tune, write_yaml
from tests.helpers.experiments import tiny_sweep

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("sweep")]

EPOCHS = 4
TRIALS = 6
NOISE = ("Warning", "warning", "(raylet)", "Traceback", "FutureWarning", "INFO ", "DEBUG")


@dataclass
class Sweep:
    """A finished sweep: its folder and what it printed."""

    folder: Path
    output: str

    @property
    def client(self) -> MlflowClient:
        return MlflowClient(f"sqlite:///{self.folder / 'mlflow.db'}")

    def runs(self) -> list[Run]:
        experiment = self.client.get_experiment_by_name("tiny")
        return list(self.client.search_runs([experiment.experiment_id], max_results=1000))

    def timeline(self) -> tuple[Session, ...]:
        return read_timeline(sorted(self.folder.glob("runs/tiny/*"))[0])

    def studies(self) -> dict[str, optuna.Study]:
        (storage,) = sorted(self.folder.glob("runs/tiny/*/studies.db"))[:1]
        return {
            name: optuna.load_study(study_name=name, storage=f"sqlite:///{storage}")
            for name in ("digits", "photos")
        }


@pytest.fixture(scope="module")
def sweep(tmp_path_factory: pytest.TempPathFactory) -> Sweep:
    folder = tmp_path_factory.mktemp("sweep")
    write_yaml(folder / "tiny.yaml", tiny_sweep(resources={"workers": 2}))
    done = mlfd_tune("run", "tiny.yaml", cwd=folder)
    return Sweep(folder, done.stdout + done.stderr)


def test_a_normal_run_prints_no_warnings(sweep: Sweep) -> None:
    assert not [line for line in sweep.output.splitlines() if any(word in line for word in NOISE)]


def test_one_process_per_slot_does_all_the_work(sweep: Sweep) -> None:
    (session,) = sweep.timeline()

    assert session.slots <= 2
    assert len({span.pid for span in session.spans}) == session.slots
    kinds = {span.kind for span in session.spans}
    assert kinds >= {"dataset", "teacher", "features", "joint_teacher", "targets"}
    assert kinds >= {"trial", "confirm"}


def test_trials_ran_before_all_stages_were_there_and_none_waited_for_one(sweep: Sweep) -> None:
    (session,) = sweep.timeline()

    last_stage = max(span.end for span in session.spans if not span.is_trial)
    trials = [span for span in session.spans if span.is_trial]
    assert min(span.start for span in trials) < last_stage
    assert not [part for span in trials for part in span.parts if part.kind != "evaluation"]


def test_trials_stopped_early_are_pruned_in_optuna_with_every_value(sweep: Sweep) -> None:
    for study in sweep.studies().values():
        assert len(study.trials) == TRIALS
        states = {trial.state for trial in study.trials}
        assert states == {TrialState.PRUNED, TrialState.COMPLETE}
        for trial in study.trials:
            values = trial.intermediate_values
            assert list(values) == list(range(1, len(values) + 1))
            if trial.state == TrialState.COMPLETE:
                assert len(values) == EPOCHS
                assert trial.value == values[EPOCHS]
            else:
                assert 1 <= len(values) < EPOCHS


def test_mlflow_holds_a_tree_with_true_statuses(sweep: Sweep) -> None:
    runs = sweep.runs()
    (parent,) = [run for run in runs if run.data.tags["mlfd.kind"] == "sweep"]
    assert parent.info.status == "FINISHED"
    below = [run for run in runs if run is not parent]
    assert {run.data.tags["mlflow.parentRunId"] for run in below} == {parent.info.run_id}

    trials = {run.info.run_name: run for run in below if run.data.tags["mlfd.kind"] == "trial"}
    assert len(trials) == 2 * TRIALS
    for name, study in sweep.studies().items():
        for trial in study.trials:
            run = trials[f"trial {name} {trial.number}"]
            finished = trial.state == TrialState.COMPLETE
            assert run.info.status == ("FINISHED" if finished else "KILLED")
            logged = sweep.client.get_metric_history(run.info.run_id, "val/acc1")
            assert [(m.step, m.value) for m in logged] == list(trial.intermediate_values.items())

    stages = {run.info.run_id for run in below if run.data.tags["mlfd.kind"] == "stage"}
    for run in trials.values():
        linked = {v for k, v in run.data.tags.items() if k.startswith("mlfd.stage.")}
        assert linked
        assert linked <= stages


def test_only_confirmations_have_seen_the_test_split(sweep: Sweep) -> None:
    for run in sweep.runs():
        confirmed = run.data.tags["mlfd.kind"] == "confirm"
        assert any(name.startswith("test/") for name in run.data.metrics) == confirmed


def test_confirmed_arms_of_a_seed_are_paired(sweep: Sweep) -> None:
    rows = leaderboard(sweep, "--status", "confirmed")
    assert {(row["dataset"], row["method"]) for row in rows} == {
        (dataset, method)
        for dataset in ("digits", "photos")
        for method in ("mlfd", "own_teacher", "none")
    }
    for row in rows:
        assert row["n_seeds"] == 2
        assert row["test/acc1"] is not None
        if row["method"] == "mlfd":
            assert row["gain_low"] <= row["gain"] <= row["gain_high"]


def test_the_leaderboard_is_the_same_in_every_format(sweep: Sweep) -> None:
    rows = leaderboard(sweep)
    needed = "dataset method status n_seeds val/acc1 test/acc1 gain gain_low gain_high run_id"
    assert all(name in row for row in rows for name in needed.split())
    text = mlfd_tune("leaderboard", "tiny", "--format", "csv", cwd=sweep.folder).stdout
    assert [row["run_id"] for row in csv.DictReader(io.StringIO(text))] == [
        row["run_id"] for row in rows
    ]
    markdown = mlfd_tune("leaderboard", "tiny", "--format", "md", cwd=sweep.folder).stdout
    assert len(markdown.splitlines()) == len(rows) + 2


def test_a_second_run_computes_no_shared_stage_and_says_so(sweep: Sweep) -> None:
    plan = json.loads(mlfd_tune("run", "tiny.yaml", "--dry-run", "--json", cwd=sweep.folder).stdout)
    assert all(stage["exists"] for stage in plan["stages"])
    before = manifests(sweep.folder, "teacher", "features", "joint_teacher", "targets")
    done = mlfd_tune("run", "tiny.yaml", "--set", "confirm.top_k=0", cwd=sweep.folder)
    after = manifests(sweep.folder, "teacher", "features", "joint_teacher", "targets")
    assert before == after
    assert f"stages: {len(plan['stages'])} reused" in done.stdout
    assert "0 to compute" in done.stdout
    assert "saved" in done.stdout


def test_training_from_the_export_reproduces_the_accuracy_exactly(sweep: Sweep) -> None:
    mlfd_tune("export", "tiny", "-o", "best", cwd=sweep.folder)
    for dataset in ("digits", "photos"):
        file = sweep.folder / "best" / f"{dataset}.yaml"
        exported = yaml.safe_load(file.read_text())["provenance"]
        assert exported["status"] == "confirmed"
        trained = json.loads(
            mlfd_tune(
                "train", file, "--json", "--set", f"store.path=fresh-{dataset}", cwd=sweep.folder
            ).stdout
        )
        assert trained["metrics"]["val/acc1"] == exported["expected"]["val/acc1"]
        weights = load_file(sweep.folder / "best" / exported["weights"])
        again = load_file(Path(trained["path"]) / "model.safetensors")
        assert all((weights[name] == again[name]).all() for name in weights)
        assert trained["key"] == exported["artifacts"]["student"]
        assert set(exported["data"]) == {"digits", "photos"}
        teachers = [name for name in exported["artifacts"] if name.startswith("teacher ")]
        assert len(teachers) == 2


def test_the_store_is_in_order(sweep: Sweep) -> None:
    report = json.loads(mlfd_tune("store", "verify", "--json", cwd=sweep.folder).stdout)
    assert report["problems"] == {}
    assert report["artifacts"] > 20


def leaderboard(sweep: Sweep, *options: str) -> list[dict]:
    done = mlfd_tune("leaderboard", "tiny", "--format", "json", *options, cwd=sweep.folder)
    return json.loads(done.stdout)


def manifests(folder: Path, *stages: str) -> dict[str, float]:
    return {
        str(path): path.stat().st_mtime_ns
        for stage in stages
        for path in folder.glob(f".mlfd/store/artifacts/{stage}/*/manifest.json")
    }


def test_a_sweep_that_ranks_levels_tries_the_best_first(tmp_path: Path) -> None:
    content = tiny_sweep(confirm={"top_k": 0})
    content["targets"] = ["digits"]
    content["search"] |= {"trials": 2, "rank_levels": True, "scheduler": "none"}
    content["search"]["space"] = {"joint_teacher.levels": {"choice": ["L1", "L2", "L3"]}}
    write_yaml(tmp_path / "ranked.yaml", content)

    done = mlfd_tune("run", "ranked.yaml", cwd=tmp_path)

    told = re.search(r"digits: levels by the teachers' features, best first: (.+)", done.stdout)
    assert told is not None, done.stdout
    best = told[1].strip().split(", ")
    assert sorted(best) == ["L1", "L2", "L3"]
    (storage,) = tmp_path.glob("runs/ranked/*/studies.db")
    study = optuna.load_study(study_name="digits", storage=f"sqlite:///{storage}")
    assert [trial.params["joint_teacher.levels"] for trial in study.trials] == best[:2]
    ranking = json.loads(mlfd_tune("layers", "ranked.yaml", "--json", cwd=tmp_path).stdout)
    assert ranking["computed_stages"] == 0
    candidates = [row["depth"] for row in ranking["datasets"]["digits"]["ranking"]]
    assert [depth for depth in candidates if depth != "L4"] == best
