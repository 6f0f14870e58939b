"""Commands that look at things: what they print for people and for programs."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click
import pytest
from click.testing import CliRunner

from mlfd_tune.cli import main
from mlfd_tune.cli.reference import render
from tests.helpers.command import write_yaml
from tests.helpers.folders import write_folder_dataset

COMMITTED = Path(__file__).parents[2] / "docs" / "cli.md"

TRAIN: dict[str, Any] = {
    "kind": "train",
    "target": "mine",
    "method": "none",
    "datasets": {"mine": {"source": "folder", "path": "pictures"}},
    "student": {"train": {"epochs": 1, "batch_size": 4}},
}


def call(*arguments: str, code: int = 0) -> str:
    result = CliRunner().invoke(main, list(arguments), catch_exceptions=False)
    assert result.exit_code == code, result.output
    return result.stdout


def read(*arguments: str, code: int = 0) -> Any:
    return json.loads(call(*arguments, "--json", code=code))


def commands(group: click.Group = main, path: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    """Every command and group by the words that call it."""
    for name, command in group.commands.items():
        yield (*path, name)
        if isinstance(command, click.Group):
            yield from commands(command, (*path, name))


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    write_folder_dataset(tmp_path / "pictures", "digits", 2, 6)
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize("command", list(commands()), ids=" ".join)
def test_every_command_and_option_is_described(command: tuple[str, ...]) -> None:
    text = call(*command, "--help")
    first = text.split("\n\n")[1].strip()
    assert first.endswith(".")
    assert len(first.splitlines()) == 1
    # In the list of commands the line stands whole.
    assert first in call(*command[:-1], "--help")

    found: click.Command = main
    for name in command:
        assert isinstance(found, click.Group)
        found = found.commands[name]
    for option in found.params:
        if isinstance(option, click.Option):
            assert option.help, option.opts
            assert option.help.endswith(".")


@pytest.mark.parametrize("command", list(commands()), ids=" ".join)
def test_what_a_program_may_read_is_json_too(command: tuple[str, ...]) -> None:
    if command in (("data",), ("models",), ("plot",), ("store",), ("tracking",), ("ui",)):
        return
    assert "--json" in call(*command, "--help")


def test_the_committed_list_of_commands_is_up_to_date() -> None:
    again = "run: python -m mlfd_tune.cli.reference docs/cli.md"
    assert COMMITTED.read_text(encoding="utf-8") == render(), again


def test_data_list_names_every_source() -> None:
    assert {row["name"] for row in read("data", "list")} >= {"digits", "letters", "folder"}
    assert "handwritten digits" in call("data", "list")


def test_data_check_tells_what_is_wrong_with_a_folder(folder: Path) -> None:
    (report,) = read("data", "check", "pictures")
    assert report["ok"]
    assert report["classes"] == ["0", "1"]

    (folder / "pictures" / "train" / "0" / "0000.png").write_text("no picture")
    (report,) = read("data", "check", "pictures", code=2)
    assert not report["ok"]
    assert "0000.png" in report["problems"][0]
    assert "cannot be used" in call("data", "check", "pictures", code=2)


def test_data_check_takes_an_experiment_file(folder: Path) -> None:
    write_yaml(folder / "exp.yaml", TRAIN)
    assert [report["name"] for report in read("data", "check", "exp.yaml")] == ["mine"]


def test_models_are_listed_by_pattern() -> None:
    assert "test_resnet" in read("models", "list", "test_*")
    assert read("models", "list", "nothing*like*this") == []
    assert "test_vit" in call("models", "list", "test_v*").split()


def test_levels_have_the_shape_of_one_image() -> None:
    shapes = read("models", "levels", "test_resnet", "--image-size", "64")
    assert shapes["stride32"][1:] == [2, 2]
    assert "stride32" in call("models", "levels", "test_resnet")


@pytest.mark.parametrize(
    ("concept", "name"),
    [
        ("methods", "unic"),
        ("adaptors", "transformer"),
        ("losses", "attention_map"),
        ("datasets", "photos"),
    ],
)
def test_what_a_file_may_name_is_listed(concept: str, name: str) -> None:
    rows = {row["name"]: row for row in read("kinds", concept)}
    assert rows[name]["from"] == "built in"
    assert rows[name]["description"]
    assert name in call("kinds", concept)


def test_doctor_tells_what_is_installed_and_what_is_not_reachable(folder: Path) -> None:
    facts = read("doctor")
    assert facts["mlfd-tune"] != "missing"
    assert "not made yet" in facts["store"]
    assert "reachable" in facts["tracking"]
    assert "is a folder" in read("doctor", "--uri", "mlruns")["tracking"]
    assert not (folder / "mlflow.db").exists()


def test_a_student_is_trained_once_and_then_reused(folder: Path) -> None:
    write_yaml(folder / "exp.yaml", TRAIN)

    first = read("train", "exp.yaml")
    assert first["dataset"] == "mine"
    assert first["reused_stages"] == 0
    assert first["expected"] is None
    assert (Path(first["path"]) / "model.safetensors").is_file()

    again = read("train", "exp.yaml", "--device", "cpu")
    assert again["metrics"] == first["metrics"]
    assert again["reused_stages"] == 2
    assert "2 stages reused" in call("train", "exp.yaml")

    stages = {artifact["stage"] for artifact in read("store", "ls")}
    assert stages == {"dataset", "baseline"}
    assert read("store", "verify") == {"artifacts": 2, "problems": {}, "leftovers": []}
    assert "2 artifacts in order, 0 damaged" in call("store", "verify")
    assert len(read("store", "gc", "--max-bytes", "1B", "--dry-run")) == 2

    (Path(first["path"]) / "model.safetensors").write_bytes(b"")
    assert list(read("store", "verify", code=1)["problems"]) == [first["key"]]
    assert "1 artifacts in order, 1 damaged" in call("store", "verify", code=1)


def test_a_recorded_accuracy_is_compared_with_the_one_that_comes_out(folder: Path) -> None:
    write_yaml(folder / "exp.yaml", TRAIN)
    accuracy = read("train", "exp.yaml")["metrics"]["val/acc1"]
    told = dict.fromkeys(("experiment", "run_id", "tracking_uri", "status"), "x")
    empty: dict[str, Any] = {"versions": {}, "data": {}, "artifacts": {}}
    for expected, reproduced in ((accuracy, True), (accuracy + 1, False)):
        provenance = {**told, **empty, "seed": 0, "expected": {"val/acc1": expected}}
        write_yaml(folder / "exp.yaml", TRAIN | {"provenance": provenance})
        assert read("train", "exp.yaml")["reproduced"] is reproduced
    assert "differs from the recorded" in call("train", "exp.yaml")
