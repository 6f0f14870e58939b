"""`layers`: what it prints, what it refuses, and how it compares itself with training."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from mlfd_tune.cli.layers import layers
from mlfd_tune.config import load_experiment, pipeline_settings
from mlfd_tune.core.errors import UserError
from mlfd_tune.core.layer_choice import rank_levels
from mlfd_tune.core.pipeline import Pipeline
from mlfd_tune.core.store import Store
from mlfd_tune.tracking.client import open_client
from tests.helpers.command import write_yaml

TRAIN = {"epochs": 1, "lr": 3.0e-3}
PIPELINE: dict[str, Any] = {
    "image_size": 32,
    "datasets": {
        "digits": {"source": "digits", "train_size": 80},
        "photos": {"source": "photos", "train_size": 60},
    },
    "teacher": {"arch": "test_vit", "train": TRAIN},
    "teachers": {"photos": {"arch": "test_resnet"}},
    "student": {"train": TRAIN},
}
LINEUP = "digits:test_vit,photos:test_resnet"
FILES: dict[str, dict[str, Any]] = {
    "sweep": {"search": {"trials": 2, "space": {"distillation.alpha": {"float": [0.1, 2.0]}}}},
    "ablation": {"design": {"factors": {"joint_teacher.levels": ["L1", "L2"]}}},
    "train": {"target": "photos"},
}
COLUMNS = ["levels", "probe", "own probe", "difference", "CKA", "rank by probe", "rank by CKA"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with an experiment of each kind, which share a store."""
    path = tmp_path_factory.mktemp("layers")
    for kind, more in FILES.items():
        about = {"kind": kind, "store": {"path": str(path / "store")}}
        write_yaml(path / f"{kind}.yaml", {**about, **PIPELINE, **more})
    return path


@pytest.fixture(scope="module")
def uri(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A tracking database of three experiments, in which training is finished."""
    path = tmp_path_factory.mktemp("mlflow") / "mlflow.db"
    client = open_client(f"sqlite:///{path}")

    def record(experiment: str, method: str, **values: list[float]) -> None:
        found = client.get_experiment_by_name(experiment)
        number = found.experiment_id if found else client.create_experiment(experiment)
        for levels, accuracies in values.items():
            for seed, accuracy in enumerate(accuracies):
                tags = {"kind": "arm", "dataset": "digits", "method": method, "seed": str(seed)}
                run = client.create_run(
                    number, tags={f"mlfd.{name}": value for name, value in tags.items()}
                )
                text = "embedding,stride32" if levels == "L2" else levels
                client.log_param(run.info.run_id, "joint_teacher.levels", text)
                lineup = "digits:resnet18" if experiment == "others" else LINEUP
                client.log_param(run.info.run_id, "lineup", lineup)
                client.log_metric(run.info.run_id, "val/acc1", accuracy)
                client.set_terminated(run.info.run_id)

    depths = {"L1": [60.0, 62.0], "L2": [70.0], "L3": [65.0]}
    record("students", "mlfd", **depths)
    record("students", "own_teacher", L1=[99.0])
    record("students", "none", L1=[98.0])
    record("both", "mlfd", L1=[1.0], L2=[2.0], L3=[3.0])
    record("both", "joint_teacher", **depths)
    record("few", "mlfd", L1=[60.0], L2=[70.0])
    record("others", "mlfd", **depths)
    return f"sqlite:///{path}"


@pytest.fixture(autouse=True)
def wide(monkeypatch: pytest.MonkeyPatch, folder: Path) -> None:
    monkeypatch.setenv("COLUMNS", "140")
    monkeypatch.chdir(folder)


def call(*arguments: str) -> Result:
    result = CliRunner().invoke(layers, list(arguments), catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return result


def read(*arguments: str) -> Any:
    return json.loads(call(*arguments, "--json").stdout)


def problems(*arguments: str) -> tuple[str, ...]:
    with pytest.raises(UserError) as caught:
        CliRunner().invoke(layers, list(arguments), catch_exceptions=False)
    return caught.value.problems


def test_json_is_what_the_function_says_and_a_second_call_computes_nothing(folder: Path) -> None:
    first, second = read("sweep.yaml"), read("sweep.yaml")
    assert list(first["datasets"]) == ["digits", "photos"]
    config = load_experiment(folder / "sweep.yaml").config
    made, store = Pipeline(pipeline_settings(config)), Store(folder / "store")
    for name, told in first["datasets"].items():
        scores = rank_levels(made, name, store)
        assert [row["depth"] for row in told["ranking"]] == [score.depth for score in scores]
        assert [row["probe"] for row in told["ranking"]] == [score.probe for score in scores]
        assert told["against"] is None
    assert second["datasets"] == first["datasets"]
    assert second["computed_stages"] == 0
    # Of each dataset: itself, its teacher, both teachers' pooled features, its scores.
    assert second["reused_stages"] == 10
    assert second["seconds_saved"] > 0


def test_a_table_for_each_dataset_and_what_was_reused(folder: Path) -> None:
    call("sweep.yaml")  # whether or not the tests above have run here
    text = call("sweep.yaml").stdout
    lines = text.splitlines()
    for name in ("digits:", "photos:"):
        at = lines.index(name)
        assert re.split(" {2,}", lines[at + 1].strip()) == COLUMNS
        rows = [line.split()[0] for line in lines[at + 2 : at + 6]]
        assert sorted(rows) == ["L1", "L2", "L3", "L4"]
    assert "10 stages reused" in text
    assert "0 computed" in text


@pytest.mark.parametrize("kind", ["ablation", "train"])
def test_any_experiment_file_will_do_and_its_targets_are_ranked(kind: str, folder: Path) -> None:
    read("sweep.yaml")
    told = read(f"{kind}.yaml")
    assert list(told["datasets"]) == (["photos"] if kind == "train" else ["digits", "photos"])
    assert told["computed_stages"] == 0


def test_candidates_may_be_lists_of_levels(folder: Path) -> None:
    arguments = ("--dataset", "photos", "--candidates", "L1, embedding+stride16,L3")
    rows = read("sweep.yaml", *arguments)["datasets"]["photos"]["ranking"]
    assert {row["depth"] for row in rows} == {"L1", "embedding+stride16", "L3"}
    assert {tuple(row["levels"]) for row in rows} == {
        ("embedding",),
        ("embedding", "stride16"),
        ("embedding", "stride32", "stride16"),
    }


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("--candidates", "L1,L5"), "--candidates: unknown level 'L5' (allowed: L1, "),
        (
            ("--candidates", "L1,embedding+stride4"),
            "--candidates: unknown level 'stride4' (allowed: embedding, stride16, ",
        ),
        (
            ("--set", "teachers.photos.arch=levit_128s"),
            "--candidates: teachers.photos.arch: architecture 'levit_128s' has no level 'stride8'"
            " at 32 px (it has: embedding, stride32, stride16)",
        ),
        (
            ("--dataset", "digit"),
            "--dataset digit: no dataset of sweep.yaml (allowed: digits, photos; did you mean",
        ),
        (("--device", "cuda:99"), "--device cuda:99: there is no such device here (allowed: cpu"),
        (("--uri", "sqlite:///x.db"), "--uri: is of use with --against only"),
        (("--set", "teacher.arch=test_bit"), "teacher.arch: "),
        (
            ("--set", "teacher.train.drop_path_rate=0.1", "--set", "teacher.arch=vgg11"),
            "no stochastic depth",
        ),
    ],
)
def test_bad_input_is_told_in_one_line_and_computes_nothing(
    arguments: tuple[str, ...], says: str, folder: Path, tmp_path: Path
) -> None:
    lines = problems("sweep.yaml", "--set", f"store.path={tmp_path / 'none'}", *arguments)
    assert len(lines) == 1, lines
    assert says in lines[0]
    assert "\n" not in lines[0]
    assert not (tmp_path / "none").exists()


def test_an_unknown_experiment_is_told_with_those_there_are(uri: str, folder: Path) -> None:
    (line,) = problems("sweep.yaml", "--against", "student", "--uri", uri)
    assert "--against student: experiment: unknown 'student' (allowed: " in line
    assert "did you mean 'students'?" in line


def test_agreement_with_trained_students_is_told(uri: str, folder: Path) -> None:
    arguments = ("sweep.yaml", "--dataset", "digits", "--against", "students", "--uri", uri)
    told = read(*arguments)["datasets"]["digits"]
    assert told["against"]["experiment"] == "students"
    assert told["against"]["method"] == "mlfd"
    assert told["against"]["accuracy"] == {"L1": 61.0, "L2": 70.0, "L3": 65.0}
    ranks = {row["depth"]: row["rank_by_probe"] for row in told["ranking"]}
    pairs = [("L2", "L3"), ("L2", "L1"), ("L3", "L1")]  # in order of the accuracies found
    kendall = sum(1 if ranks[a] < ranks[b] else -1 for a, b in pairs) / 3
    probe = told["against"]["agreement"]["probe"]
    assert probe["n"] == 3
    assert probe["kendall"] == pytest.approx(kendall)
    assert probe["same_best"] == (min(("L1", "L2", "L3"), key=ranks.__getitem__) == "L2")
    text = call(*arguments).stdout
    assert "students, mlfd, mean val/acc1: L1 61.00, L2 70.00, L3 65.00" in text
    assert f"agreement of rank by probe: Kendall {kendall:+.2f}" in text
    assert "agreement of rank by CKA" in text


def test_joint_teachers_own_accuracies_are_preferred_to_their_students(
    uri: str, folder: Path
) -> None:
    against = read("sweep.yaml", "--dataset", "digits", "--against", "both", "--uri", uri)[
        "datasets"
    ]["digits"]["against"]
    assert against["method"] == "joint_teacher"
    assert against["accuracy"] == {"L1": 61.0, "L2": 70.0, "L3": 65.0}


@pytest.mark.parametrize(
    ("experiment", "dataset", "says"),
    [
        ("few", "digits", "not told, for fewer than three"),
        ("students", "photos", "students: no finished results of these teachers"),
        ("others", "digits", "others: no finished results of these teachers"),
    ],
)
def test_where_training_says_too_little_nothing_is_claimed(
    experiment: str, dataset: str, says: str, uri: str, folder: Path
) -> None:
    arguments = ("sweep.yaml", "--dataset", dataset, "--against", experiment, "--uri", uri)
    against = read(*arguments)["datasets"][dataset]["against"]
    assert against["agreement"] is None
    assert says in call(*arguments).stdout
