"""`plot`: what is written, printed and logged."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import click
import pytest
from click.testing import CliRunner
from PIL import Image

from mlfd_tune.cli.plots import plot
from mlfd_tune.core.errors import UserError
from mlfd_tune.core.store import Store
from mlfd_tune.tracking.client import open_client
from tests.helpers.recorder import Recorder
from tests.helpers.small_stages import NoteStage


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a tracking database of two experiments, and a store."""
    folder = tmp_path_factory.mktemp("plots")
    uri = f"sqlite:///{folder}/mlflow.db"
    sweep = Recorder(uri, "quick/start", folder / "outbox", "s1")
    for dataset in ("digits", "letters"):
        for seed in (1, 2):
            sweep.train("confirm", dataset, "mlfd", seed, [40.0, 80.0 + seed], config="best")
            sweep.train("confirm", dataset, "none", seed, [20.0, 70.0], of="best")
    sweep.close()

    store = Store(folder / "store")
    ablation = Recorder(uri, "teachers", folder / "outbox2", "a1", "ablation")
    for n in (2, 4, 8):
        student = NoteStage(f"student of {n}", below={"teacher": NoteStage("t" * n)})
        store.get_or_compute(student)
        told = {"joint_teacher.teachers": str([f"d{i}" for i in range(n)])}
        for seed in (0, 1, 2):
            more: dict[str, Any] = {"params": told, "key": student.key}
            ablation.train("arm", "digits", "mlfd", seed, [50.0 + 0.1 * seed], **more, arm=str(n))
            ablation.train("arm", "digits", "none", seed, [50.0 + 0.1 * (1 - seed)], arm="none")
    ablation.close()
    return folder


@pytest.fixture
def call(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "160")

    def run(*arguments: str) -> str:
        where = ["--uri", f"sqlite:///{folder}/mlflow.db"]
        result = CliRunner().invoke(plot, [*arguments, *where], catch_exceptions=False)
        assert result.exit_code == 0, result.output
        return result.stdout

    return run


def artifacts(folder: Path, run_id: str) -> set[str]:
    client = open_client(f"sqlite:///{folder}/mlflow.db")
    return {file.path for file in client.list_artifacts(run_id, "figures")}


def test_curves_are_written_printed_and_logged_to_the_sweeps_run(
    call: Any, folder: Path, tmp_path: Path
) -> None:
    printed = call("curves", "quick/start")

    written = tmp_path / "figures" / "quick_start"
    assert sorted(path.name for path in written.iterdir()) == [
        "curves_val_acc1.png",
        "curves_val_acc1.svg",
    ]
    with Image.open(written / "curves_val_acc1.png") as image:
        image.load()
        assert image.width > 1000
    (row,) = (line for line in printed.splitlines() if "digits" in line and "mlfd" in line)
    assert "81.50" in row
    run_id = printed.split("run ")[-1].split(",")[0]
    assert artifacts(folder, run_id) == {
        "figures/curves_val_acc1.png",
        "figures/curves_val_acc1.svg",
    }
    tags = open_client(f"sqlite:///{folder}/mlflow.db").get_run(run_id).data.tags
    assert tags["mlfd.kind"] == "sweep"


def test_curves_as_json_hold_every_number_and_nothing_is_logged_unasked(
    call: Any, folder: Path, tmp_path: Path
) -> None:
    options = ("--dataset", "letters", "--metric", "train/loss", "-o", "pictures", "--no-log")
    told = json.loads(call("curves", "quick/start", *options, "--method", "mlfd", "--json"))

    assert told["run"] == "s1"
    assert told["logged_to"] is None
    (curve,) = told["curves"]
    assert curve["dataset"] == "letters"
    assert curve["mean"] == [1.0, 0.5]
    assert curve["low"] == [1.0, 0.5]
    assert told["files"] == [
        f"pictures/quick_start/curves_train_loss_letters_mlfd.{form}" for form in ("png", "svg")
    ]
    assert all((tmp_path / file).is_file() for file in told["files"])


def test_scaling_says_plainly_that_no_gain_is_shown(
    call: Any, folder: Path, tmp_path: Path
) -> None:
    store = str(folder / "store")
    printed = call("scaling", "teachers", "--store", store, "--no-log")

    assert "3 of 3 gains have a 95 % interval that contains zero" in " ".join(printed.split())
    assert "seconds per stage:" in printed
    assert "MB per stage:" in printed
    assert (tmp_path / "figures" / "teachers" / "scaling_mlfd.svg").is_file()


def test_scaling_as_json_has_rows_and_power_laws_and_is_logged(call: Any, folder: Path) -> None:
    told = json.loads(call("scaling", "teachers", "--store", str(folder / "store"), "--json"))

    assert [row["teachers"] for row in told["rows"]] == [2, 4, 8]
    assert all(row["undecided"] for row in told["rows"])
    assert told["rows"][0]["gain"]["n"] == 3
    assert told["rows"][0]["gain_metric"] == "val/acc1"
    assert told["power_laws"]["bytes"]["total"]["exponent"]["n"] == 3
    assert artifacts(folder, told["logged_to"]) == {
        "figures/scaling_mlfd.png",
        "figures/scaling_mlfd.svg",
    }


def test_bad_names_write_nothing(call: Any, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="did you mean 'teachers'"):
        call("curves", "teacher")
    with pytest.raises(UserError, match="has no artifact of teachers"):
        call("scaling", "teachers", "--store", "nowhere")
    assert list(tmp_path.iterdir()) == []


def test_every_option_is_described() -> None:
    for name, command in plot.commands.items():
        text = CliRunner().invoke(plot, [name, "--help"]).output
        first = text.split("\n\n")[1].strip()
        assert first.endswith(".")
        assert first in CliRunner().invoke(plot, ["--help"]).output
        for option in command.params:
            if isinstance(option, click.Option):
                assert option.help
                assert option.help.endswith(".")
