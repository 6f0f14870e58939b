"""`importance`: which run it reads, what it prints, writes and logs."""

from __future__ import annotations

import json
from pathlib import Path

import optuna
import pytest
from click.testing import CliRunner
from optuna.distributions import FloatDistribution
from optuna.trial import TrialState, create_trial

from mlfd_tune.cli.importance import importance
from mlfd_tune.core.errors import UserError
from mlfd_tune.tracking import Tracker
from mlfd_tune.tracking.client import open_client
from mlfd_tune.tune.run_log import PARENT
from mlfd_tune.tune.storage import open_storage, storage_url
from mlfd_tune.tune.timeline import Timeline

RUNS = ("20260101-000000", "20260102-000000")
RANGE = FloatDistribution(0.0, 1.0)


def record(folder: Path, ended: int) -> None:
    """Write the studies of a sweep in which x decides, and `ended` trials ran to epoch 2."""
    folder.mkdir(parents=True)
    Timeline(folder, 1, began=1000.0)
    storage = open_storage(storage_url(folder / "studies.db"))
    for dataset in ("digits", "letters"):
        study = optuna.create_study(storage=storage, study_name=dataset, direction="maximize")
        for i in range(10):
            x = i / 9
            values = {1: 50 + 10 * x} | ({2: 80 + 10 * x} if i < ended else {})
            study.add_trial(
                create_trial(
                    state=TrialState.COMPLETE if i < ended else TrialState.PRUNED,
                    value=values[2] if i < ended else None,
                    params={"distillation.alpha": x, "student.train.lr": (i * 7 % 10) / 9},
                    distributions={"distillation.alpha": RANGE, "student.train.lr": RANGE},
                    intermediate_values=values,
                )
            )


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "160")
    for run, ended in zip(RUNS, (10, 7), strict=True):
        record(tmp_path / "runs" / "quick" / run, ended)
    return tmp_path


def call(*arguments: str) -> str:
    result = CliRunner().invoke(importance, arguments, catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return result.stdout


def test_shares_are_printed_with_what_has_to_be_known_of_them(folder: Path) -> None:
    printed = call("quick", "--dataset", "digits")

    lines = printed.splitlines()
    assert lines[0].split() == [
        "dataset",
        "parameter",
        "points",
        "fANOVA",
        "PED-ANOVA",
        "R²",
        "unseen",
    ]
    assert lines[1].split()[:3] == ["digits", "distillation.alpha", "7"]
    assert "letters" not in printed
    assert "7 points with a value at epoch 2; 3 were stopped before it and are left out" in printed
    assert "fewer than 20 points" in printed
    assert not (folder / "figures").exists()


@pytest.mark.parametrize(
    ("arguments", "run", "trials"),
    [
        (["quick"], RUNS[1], 7),
        (["quick", "--run", RUNS[0]], RUNS[0], 10),
        ([f"runs/quick/{RUNS[0]}"], RUNS[0], 10),
        (["quick", "--rung", "1"], RUNS[1], 10),
    ],
    ids=["the_latest", "one_by_its_id", "one_by_its_folder", "an_earlier_epoch"],
)
def test_as_json_it_tells_everything_of_one_run(
    folder: Path, arguments: list[str], run: str, trials: int
) -> None:
    told = json.loads(call(*arguments, "--json"))

    assert (told["experiment"], told["run"], told["files"]) == ("quick", run, [])
    assert {one["trials"] for one in told["importances"]} == {trials}
    assert {one["dataset"] for one in told["marginals"]} == {"digits", "letters"}
    assert told["explained"]["digits"] > 0
    assert told["notes"]


def test_figures_are_written_and_join_the_artifacts_of_the_run(folder: Path) -> None:
    uri = f"sqlite:///{folder}/mlflow.db"
    outbox = folder / "runs" / "quick" / RUNS[1] / "tracking"
    with Tracker(uri, "quick", outbox) as tracker:
        tracker.start_run(PARENT, "sweep")
        tracker.end_run(PARENT, "FINISHED")
    told = json.loads(
        call("quick", "--rung", "1", "--dataset", "digits", "-o", "out", "--uri", uri, "--json")
    )

    names = {
        f"{kind}_{RUNS[1]}_epoch1_digits.{form}"
        for kind in ("importance", "marginals", "interactions")
        for form in ("png", "svg")
    }
    assert {path.name for path in (folder / "out" / "quick").iterdir()} == names
    logged = {f.path for f in open_client(uri).list_artifacts(told["logged_to"], "figures")}
    assert logged == {f"figures/{name}" for name in names}

    printed = call("quick", "-o", "out", "--no-log")
    assert f"out/quick/importance_{RUNS[1]}.png" in printed
    assert "MLflow" not in printed


def test_what_cannot_be_told_is_said(folder: Path) -> None:
    with pytest.raises(UserError, match="did you mean 'quick'"):
        call("quack")
    with pytest.raises(UserError, match="points by epoch: epoch 1: 10, epoch 2: 7"):
        call("quick", "--rung", "3")
    ablation = folder / "runs" / "arms" / RUNS[0]
    ablation.mkdir(parents=True)
    Timeline(ablation, 1, began=1000.0)
    with pytest.raises(UserError, match=r"has no studies\.db; importances are of a sweep"):
        call("arms")
