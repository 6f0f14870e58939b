"""`plot timeline`: which run it draws, what it writes, prints and logs."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from mlfd_tune.cli.plots import plot
from mlfd_tune.core.errors import UserError
from mlfd_tune.tracking import Tracker
from mlfd_tune.tracking.client import open_client
from mlfd_tune.tune.run_log import PARENT
from mlfd_tune.tune.timeline import CLOCK, Timeline

RUNS = ("20260101-000000", "20260102-000000")


def record(folder: Path) -> None:
    """Write the timeline of one trial that took eight of ten seconds."""
    folder.mkdir(parents=True)
    timeline = Timeline(folder, 1, began=1000.0)
    clock = {"host": "node", "pid": 7, "start": 1002.0, "end": 1010.0, "parts": []}
    timeline.trial_started("trial/digits/0", "digits")
    timeline.trial_result("trial/digits/0", {"epoch": 1, "reused_epochs": 0, CLOCK: clock})
    timeline.trial_ended("trial/digits/0", "pruned")


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    for run in RUNS:
        record(tmp_path / "runs" / "quick" / run)
    return tmp_path


def call(*arguments: str) -> str:
    result = CliRunner().invoke(plot, ["timeline", *arguments], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return result.stdout


@pytest.mark.parametrize(
    ("arguments", "run"),
    [
        (["quick"], RUNS[1]),
        (["quick", "--run", RUNS[0]], RUNS[0]),
        ([f"runs/quick/{RUNS[0]}"], RUNS[0]),
    ],
    ids=["the_latest_of_an_experiment", "one_by_its_id", "one_by_its_folder"],
)
def test_a_run_is_drawn_into_two_files(folder: Path, arguments: list[str], run: str) -> None:
    printed = call(*arguments)
    written = folder / "figures" / "quick"
    assert sorted(file.name for file in written.iterdir()) == [
        f"timeline_{run}.png",
        f"timeline_{run}.svg",
    ]
    assert f"figures/quick/timeline_{run}.png" in printed
    assert "MLflow" not in printed  # the run was never sent there


def test_the_picture_joins_the_artifacts_of_the_runs_own_run(folder: Path) -> None:
    uri = f"sqlite:///{folder}/mlflow.db"
    outbox = folder / "runs" / "quick" / RUNS[1] / "tracking"
    with Tracker(uri, "quick", outbox) as tracker:
        tracker.start_run(PARENT, "sweep")
        tracker.end_run(PARENT, "FINISHED")
    told: dict[str, Any] = json.loads(call("quick", "--uri", uri, "--json"))

    names = {file.path for file in open_client(uri).list_artifacts(told["logged_to"], "figures")}
    assert names == {f"figures/timeline_{RUNS[1]}.{form}" for form in ("png", "svg")}
    assert json.loads(call("quick", "--no-log", "--json"))["logged_to"] is None


def test_as_json_it_tells_every_bar_and_the_busy_share(folder: Path) -> None:
    told = json.loads(call("quick", "--json"))
    assert (told["run"], told["workers"], told["seconds"]) == (RUNS[1], 1, 10.0)
    assert told["busy"] == told["shares"]["search"] == pytest.approx(0.8)
    ((bar,),) = told["lanes"]
    assert (bar["start"], bar["end"]) == (2.0, 10.0)
    assert bar["span"]["outcome"] == "pruned"


def test_an_unknown_experiment_is_answered_with_those_there_are(folder: Path) -> None:
    with pytest.raises(UserError, match="did you mean 'quick'"):
        call("quack")
    with pytest.raises(UserError, match="has no run 'x'"):
        call("quick", "--run", "x")
    assert not (folder / "figures").exists()
