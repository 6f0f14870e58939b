"""`evaluate` end to end: files, MLflow, reuse, and what it refuses."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from click.testing import CliRunner

from mlfd_tune.cli import main
from mlfd_tune.config import load_experiment, pipeline_settings
from mlfd_tune.core.pipeline import Pipeline
from mlfd_tune.tracking import vocabulary
from mlfd_tune.tracking.artifacts import EVALUATION
from mlfd_tune.tracking.client import open_client
from tests.helpers.command import write_yaml
from tests.helpers.folders import write_folder_dataset

NETWORKS = ["student", "none", "teacher", "joint_teacher"]
TRAIN = {"epochs": 1, "batch_size": 16, "lr": 3.0e-3}
CONFIG: dict[str, Any] = {
    "kind": "train",
    "name": "exp",
    "target": "one",
    "seed": 3,
    "image_size": 32,
    "datasets": {
        "one": {"source": "digits", "train_size": 32, "classes": ["0", "1", "2"]},
        "two": {"source": "digits", "train_size": 32, "classes": ["3", "4"]},
    },
    "teacher": {"arch": "test_resnet", "train": TRAIN},
    "student": {"train": TRAIN},
    "joint_teacher": {"levels": "L1", "width": 16, "train": TRAIN},
}


def call(*arguments: str | Path, code: int = 0) -> str:
    result = CliRunner().invoke(main, ["evaluate", *map(str, arguments)], catch_exceptions=False)
    assert result.exit_code == code, result.output
    return result.output if code else result.stdout


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A folder with a configuration, the run it was exported from, and new pictures."""
    folder = tmp_path_factory.mktemp("evaluate")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        write_folder_dataset(folder / "pictures", "letters", 3, 8, test_per_class=4)
        plain = load_experiment(write_yaml(folder / "plain.yaml", CONFIG))
        student = Pipeline(pipeline_settings(plain.config)).student("one")
        client = open_client("sqlite:///mlflow.db")
        experiment = client.create_experiment("exp", (folder / "mlartifacts").as_uri())
        run = client.create_run(experiment, tags={vocabulary.ARTIFACT_KEY: student.key})
        client.log_metric(run.info.run_id, "test/acc1", 12.0)
        client.set_terminated(run.info.run_id)
        origin = {
            "experiment": "exp",
            "run_id": run.info.run_id,
            "tracking_uri": f"sqlite:///{folder}/mlflow.db",
            "versions": {},
            "data": {},
            "artifacts": {},
            "seed": 3,
            "status": "confirmed",
            "expected": {},
        }
        write_yaml(folder / "one.yaml", {**CONFIG, "provenance": origin})
        yield folder


@pytest.fixture(scope="module")
def told(folder: Path) -> dict[str, Any]:
    """What the first evaluation prints."""
    return json.loads(call("one.yaml", "--transfer", "mine=folder:pictures", "--json"))


def run_id(folder: Path) -> str:
    return str(yaml.safe_load((folder / "one.yaml").read_text())["provenance"]["run_id"])


@pytest.mark.slow
def test_every_network_is_told_of_with_all_measures(told: dict[str, Any]) -> None:
    assert list(told["networks"]) == NETWORKS
    measures = ["test/acc1", "test/acc5", "test/ece", "test/knn_acc1", "test/probe_acc1"]
    measures += ["transfer/mine/knn_acc1", "transfer/mine/probe_acc1"]
    for one in told["networks"].values():
        assert all(0 <= one["metrics"][name] <= 100 for name in measures)
        assert one["seed"] == 3
        assert set(one["images_per_second"]) == {"1", "64"}
        assert set(one["per_class_acc1"]) == {"0", "1", "2"}
        assert len(one["calibration"]["edges"]) == 16
    sizes = {name: one["parameters"] for name, one in told["networks"].items()}
    assert sizes["student"] == sizes["none"] < sizes["joint_teacher"]


@pytest.mark.slow
def test_tables_and_pictures_of_every_network_are_written(
    folder: Path, told: dict[str, Any]
) -> None:
    out = folder / "evaluation" / "one"
    pictures = [f"{kind}_{name}" for name in NETWORKS for kind in ("confusion", "reliability")]
    expected = {f"{name}.{form}" for name in [*pictures, "embeddings"] for form in ("png", "svg")}
    expected |= {f"confusion_{name}.csv" for name in NETWORKS}
    expected |= {"evaluation.json", "per_class.csv"}
    assert {path.name for path in out.iterdir()} == expected
    assert {Path(file).name for file in told["files"]} == expected
    written = json.loads((out / "evaluation.json").read_text())
    assert written["networks"] == told["networks"]

    rows = list(csv.DictReader((out / "per_class.csv").open()))
    assert [row["class"] for row in rows] == ["0", "1", "2"]
    images = sum(int(row["images"]) for row in rows)
    for name in NETWORKS:
        mean = sum(int(row["images"]) * float(row[name]) for row in rows) / images
        assert mean == pytest.approx(told["networks"][name]["metrics"]["test/acc1"], abs=1e-3)
        table = list(csv.reader((out / f"confusion_{name}.csv").open()))[1:]
        counts = [[int(cell) for cell in row[1:]] for row in table]
        assert counts == told["networks"][name]["confusion"]


@pytest.mark.slow
def test_it_is_logged_to_the_run_it_was_exported_from(folder: Path, told: dict[str, Any]) -> None:
    client = open_client("sqlite:///mlflow.db")
    assert told["logged"]["run_id"] == run_id(folder)
    metrics = client.get_run(run_id(folder)).data.metrics
    assert metrics["test/acc1"] == 12.0  # what was there stays
    student = told["networks"]["student"]
    for name in ("test/ece", "test/probe_acc1", "transfer/mine/knn_acc1"):
        assert metrics[name] == student["metrics"][name]
    assert metrics["parameters"] == student["parameters"]
    assert metrics["images_per_second"] == student["images_per_second"]["64"]
    logged = {Path(file.path).name for file in client.list_artifacts(run_id(folder), "evaluation")}
    assert logged == {Path(file).name for file in told["files"]}


@pytest.mark.slow
def test_a_second_evaluation_computes_nothing(folder: Path, told: dict[str, Any]) -> None:
    told_to = ["--transfer", "mine=folder:pictures", "--no-log", "-o", "again"]
    out = " ".join(call("one.yaml", *told_to).split())  # lines are as wide as the terminal
    assert told["computed_stages"] > 10
    assert f"{told['computed_stages']} stages reused, 0 computed" in out
    assert "joint_teacher" in out
    assert "one seed, without an interval" in out
    assert "exactly as many parameters as its baseline" in out
    one, other = ((folder / at / "per_class.csv").read_text() for at in ("evaluation/one", "again"))
    assert one == other
    assert "logged" not in out


@pytest.mark.slow
def test_another_seed_has_a_run_of_its_own(folder: Path, told: dict[str, Any]) -> None:
    before = open_client("sqlite:///mlflow.db").get_run(run_id(folder)).data.metrics
    new = json.loads(call("one.yaml", "--set", "seed=4", "--with", "", "-o", "seed4", "--json"))
    assert list(new["networks"]) == ["student"]
    client = open_client("sqlite:///mlflow.db")
    assert client.get_run(run_id(folder)).data.metrics == before
    run = client.get_run(new["logged"]["run_id"])
    assert run.data.tags[vocabulary.KIND] == EVALUATION
    assert run.data.tags[vocabulary.SEED] == "4"
    assert run.data.metrics["test/acc1"] == new["networks"]["student"]["metrics"]["test/acc1"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--with", "non"], "--with non: unknown network"),
        (["--with", "non"], "did you mean 'none'?"),
        (["--transfer", "mine"], "--transfer mine: expected NAME=SOURCE[:PATH]"),
        (["--transfer", "x=leters"], "did you mean 'letters'?"),
        (["--transfer", "x=folder"], "path is needed"),
        (["--transfer", "x=folder:none"], "none does not exist"),
        (["--transfer", "two=letters"], "'two' is a dataset of the configuration"),
        (["--transfer", "a/b=letters"], "'a/b' is no name"),
        (["--transfer", "x=digits"], "which teachers have learned from"),
        (["--transfer", "x=letters", "--transfer", "x=letters"], "'x' stands twice"),
        (["--device", "gpu"], "--device gpu: there is no such device"),
        (["--uri", "http://127.0.0.1:9"], "cannot be reached"),
        (["--uri", "mlruns"], "is a folder"),
        (["--uri", "sqlite:///mlflow.db", "--no-log"], "--uri: is of no use with --no-log"),
        (["--output", "one.yaml/out", "--no-log"], "cannot be made"),
    ],
)
def test_bad_input_is_one_line(folder: Path, arguments: list[str], message: str) -> None:
    out = call("one.yaml", *arguments, code=2)
    assert message in out
    assert out.startswith("error: ")
    assert len(out.splitlines()) == 1


def test_a_sweep_is_not_evaluated_but_exported_first(folder: Path) -> None:
    sweep = {key: value for key, value in CONFIG.items() if key != "target"}
    search = {"trials": 1, "space": {"distillation.alpha": {"float": [0.1, 1.0]}}}
    write_yaml(folder / "sweep.yaml", {**sweep, "kind": "sweep", "search": search})
    out = call("sweep.yaml", code=2)
    assert "mlfd-tune export exp" in out
    assert len(out.splitlines()) == 1
