"""Reading runs straight from SQLite gives what MLflow gives."""

from __future__ import annotations

import os
import random
import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from mlflow import MlflowClient
from mlflow.entities import Metric, Param

from mlfd_tune.core.errors import UserError
from mlfd_tune.tracking.client import open_client, sqlite_path
from mlfd_tune.tracking.leaderboard import STATUSES, leaderboard
from mlfd_tune.tracking.results import read_results
from mlfd_tune.tracking.sqlite_runs import SqliteRuns, UnfamiliarDatabaseError

ODD_TEXTS = ('it\'s "odd"', "line\nbreak\ttab", "größer 雪 🧊", "\\u0041 \\", "{'a': [1, 2]}", "")


def through_mlflow(uri: str) -> str:
    """Return the same database by an URI with an option, which only MLflow can heed."""
    return f"{uri}?timeout=20"


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory, empty_database: Path) -> str:
    """Three experiments of all kinds of runs, two of which were run twice, and deleted ones."""
    path = tmp_path_factory.mktemp("store") / "mlflow.db"
    shutil.copyfile(empty_database, path)
    uri = f"sqlite:///{path}"
    client = open_client(uri)
    random_ = random.Random(7)
    for experiment in ("first", "it's second", "no parents", "deleted"):
        number = client.create_experiment(experiment, "file:///nowhere")
        for sweep in range(2 if experiment in ("first", "it's second") else 1):
            _fill(client, number, f"{experiment} {sweep}", random_, parents=experiment[0] != "n")
        if experiment == "deleted":
            client.delete_experiment(number)
    return uri


def _fill(
    client: MlflowClient, experiment: str, sweep: str, random_: random.Random, *, parents: bool
) -> None:
    started = random_.randrange(1000)
    kind = random_.choice(("sweep", "ablation"))
    parent = client.create_run(
        experiment, started, {"mlfd.kind": kind, "mlfd.sweep": sweep} if parents else {}
    )
    for number in range(12):
        config = random_.choice(("aaaa", "bbbb"))
        method = random_.choice(("mlfd", "mlfd", "none", "own_teacher"))
        tags = {
            "mlfd.kind": random_.choice(("trial", "confirm", "confirm", "arm", "stage")),
            "mlfd.sweep": sweep,
            "mlfd.dataset": random_.choice(("digits", "Digits", "letters")),
            "mlfd.method": method,
            "mlfd.config": config,
            "mlfd.seed": str(random_.randrange(3)),
            "mlfd.arm": random_.choice(("L1", "L2")),
            "mlflow.parentRunId": parent.info.run_id,
            "mlfd.stage.dataset.digits": f"stage {number % 3}",
        }
        if method != "mlfd":
            tags["mlfd.baseline_of"] = random_.choice(("aaaa", "bbbb", "aaaa, bbbb"))
        for name in random_.sample(sorted(tags), k=random_.choice((0, 0, 2))):
            del tags[name]
        values = (float(random_.randrange(100)), float("nan"), float("inf"), float("-inf"))
        metrics = [
            Metric(name, random_.choice(values), 1000 * step, step)
            for name in ("val/acc1", "test/acc1", "train/loss")
            for step in range(random_.randrange(3))
        ]
        params = [
            Param(name, random_.choice(ODD_TEXTS))
            for name in ("alpha", "joint_teacher.levels", "a/b c")
            if random_.random() < 0.8
        ]
        # Few different times, so that the order of runs started at once counts.
        run = client.create_run(experiment, started + random_.randrange(4), tags)
        client.log_batch(run.info.run_id, metrics=metrics, params=params)
        status = random_.choice(("FINISHED", "FINISHED", "FINISHED", "KILLED", "FAILED", "RUNNING"))
        client.update_run(run.info.run_id, status=status)
        if number == 0:
            client.delete_run(run.info.run_id)


@pytest.mark.parametrize("status", ["FINISHED", "KILLED", "FAILED"])
@pytest.mark.parametrize("all_runs", [True, False])
def test_results_equal_those_through_mlflow_in_the_same_order(
    store: str, status: str, all_runs: bool
) -> None:
    mine = read_results(store, None, status, all_runs=all_runs)

    assert mine
    assert mine == read_results(through_mlflow(store), None, status, all_runs=all_runs)


def test_a_result_has_the_epochs_of_its_accuracies_and_what_packed_its_images(store: str) -> None:
    results = read_results(store, None, "FINISHED")

    assert {result.val_step for result in results} == {None, 0, 1}
    assert {result.test_step for result in results} == {None, 0, 1}
    assert {result.data for result in results if result.dataset != "digits"} == {None}
    of_digits = {result.data for result in results if result.dataset == "digits"}
    assert of_digits - {None}
    assert of_digits <= {None, "stage 0", "stage 1", "stage 2"}


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"experiment": "first"},
        {"experiment": "it's second", "all_runs": True},
        {"experiment": "no parents"},
        {"dataset": "digits"},
        {"dataset": "", "all_runs": True},
        {"method": "none", "all_runs": True},
        *({"status": status, "all_runs": True} for status in STATUSES),
        {"experiment": "first", "dataset": "letters", "method": "mlfd", "all_runs": True},
    ],
    ids=str,
)
def test_a_leaderboard_equals_that_through_mlflow(store: str, options: dict[str, Any]) -> None:
    rows = leaderboard(store, **options)

    assert rows == leaderboard(through_mlflow(store), **options)


@pytest.mark.parametrize(
    "options",
    [
        {"experiment": "frist"},
        {"experiment": "deleted"},
        {"dataset": "digit"},
        {"experiment": "first", "method": "mlf"},
    ],
    ids=str,
)
def test_what_no_run_has_is_answered_as_through_mlflow(store: str, options: dict[str, str]) -> None:
    with pytest.raises(UserError) as mine:
        leaderboard(store, **options)
    with pytest.raises(UserError) as its:
        leaderboard(through_mlflow(store), **options)

    assert mine.value.problems == its.value.problems


def test_a_sqlite_database_is_read_without_mlflow(store: str) -> None:
    script = """
import sys
from mlfd_tune.tracking import leaderboard
assert leaderboard(sys.argv[1])
print(*({"mlflow", "pandas", "torch", "ray", "optuna"} & set(sys.modules)))
"""
    done = subprocess.run(
        [sys.executable, "-c", script, store], capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == ""


def test_reading_changes_nothing_and_leaves_no_file_behind(store: str) -> None:
    path = sqlite_path(store)
    assert path is not None
    before = path.read_bytes()

    leaderboard(store)

    assert path.read_bytes() == before
    assert list(path.parent.iterdir()) == [path]


def test_a_sweep_that_is_writing_holds_no_reader_up(store: str, tmp_path: Path) -> None:
    path = tmp_path / "mlflow.db"
    shutil.copyfile(sqlite_path(store) or "", path)
    writer = sqlite3.connect(path, isolation_level=None)
    writer.execute("BEGIN IMMEDIATE")
    writer.execute("UPDATE params SET value = 'not committed yet'")

    rows = leaderboard(f"sqlite:///{path}")
    writer.close()

    assert rows == leaderboard(store)


@pytest.fixture
def copy(store: str, tmp_path: Path) -> Iterator[sqlite3.Connection]:
    """A copy of the store that may be altered."""
    path = tmp_path / "mlflow.db"
    shutil.copyfile(sqlite_path(store) or "", path)
    with sqlite3.connect(path) as database:
        yield database
    database.close()


@pytest.mark.parametrize(
    "change",
    [
        "ALTER TABLE latest_metrics RENAME TO last_metrics",
        "ALTER TABLE runs RENAME COLUMN start_time TO began",
        "UPDATE experiments SET workspace = 'mine' WHERE name = 'first'",
    ],
)
def test_a_database_of_another_layout_is_left_to_mlflow(
    change: str, copy: sqlite3.Connection, tmp_path: Path
) -> None:
    copy.execute(change)
    copy.commit()

    with (
        pytest.raises(UnfamiliarDatabaseError),
        SqliteRuns.opened(tmp_path / "mlflow.db"),
    ):
        pass


def test_what_is_left_to_mlflow_gives_the_same(store: str, monkeypatch: pytest.MonkeyPatch) -> None:
    rows = leaderboard(store)
    monkeypatch.setitem(os.environ, "MLFLOW_ENABLE_WORKSPACES", "false")

    assert leaderboard(store) == rows
