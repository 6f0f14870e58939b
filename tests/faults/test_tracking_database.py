"""An MLflow database in a file: locked by another process, deleted, replaced, or brought back."""

from __future__ import annotations

import shutil
import sqlite3
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from mlfd_tune.tracking import Tracker
from mlfd_tune.tracking.client import open_client
from tests.helpers.disks import small_disk
from tests.helpers.faults.record import Held
from tests.helpers.tracked import STEPS, check_once, runs_of, tell


def opened(uri: str, folder: Path) -> Tracker:
    return Tracker(uri, "exp", folder / "outbox", linger_s=0.01, first_retry_s=0.05)


def wait_until(reached: Callable[[], bool]) -> None:
    until = time.monotonic() + 60
    while not reached():
        assert time.monotonic() < until
        time.sleep(0.01)


def held_up(
    held: Held,
    uri: str,
    folder: Path,
    caplog: pytest.LogCaptureFixture,
    block: Callable[[], Callable[[], object]],
    why: str,
) -> None:
    """Hold that a sweep goes on while its database takes nothing, and all gets there afterwards.

    Args:
        held: What the fault's test holds.
        uri: The database.
        folder: Where the tracker's outbox is.
        caplog: What is logged.
        block: Makes the database take nothing, and returns what frees it.
        why: What must be told of it.
    """
    with opened(uri, folder) as tracker:
        tracker.start_run("early", "early")
        assert tracker.flush(30)
        free = block()
        began = time.monotonic()
        tell(tracker)
        with held("goes on"):
            assert time.monotonic() - began < 2
        wait_until(lambda: "cannot be reached" in caplog.text)
        with held("told"):
            assert why in caplog.text
        free()
        assert tracker.flush(60)
        tracker.end_run("early", "FINISHED")
    with held("states", "metrics"):
        open_client(uri).delete_run(runs_of(open_client(uri), "exp")["early"].info.run_id)
        check_once(uri, "exp", folder)


@pytest.mark.slow
def test_a_locked_database_gets_all_when_it_is_free(
    held: Held, uri: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    held.fault = "tracking: database locked by another process for 25 s"  # MLflow waits for 20

    def lock() -> Callable[[], object]:
        other = sqlite3.connect(tmp_path / "mlflow.db", isolation_level=None)
        other.execute("BEGIN EXCLUSIVE")
        return other.close  # which rolls back

    held_up(held, uri, tmp_path, caplog, lock, why="locked")


@pytest.mark.slow
def test_a_database_on_a_full_disk_gets_all_when_there_is_room(
    held: Held, empty_database: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    held.fault = "tracking: the disk of the database is full"
    with small_disk(tmp_path / "disk", "16m") as disk:
        shutil.copyfile(empty_database, disk.path / "mlflow.db")
        uri = f"sqlite:///{disk.path / 'mlflow.db'}"

        def fill() -> Callable[[], object]:
            disk.fill()
            return disk.empty

        held_up(held, uri, tmp_path, caplog, fill, why="disk is full")


def test_a_deleted_database_is_made_anew_with_all_that_was_logged(
    held: Held, uri: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    held.fault = "tracking: database deleted in mid-run"
    with opened(uri, tmp_path) as tracker:
        deleted = False

        def delete(trial: int, step: int) -> None:
            nonlocal deleted
            if trial == 2 and step == STEPS // 2:
                assert tracker.flush(30)
                (tmp_path / "mlflow.db").unlink()
                deleted = True

        tell(tracker, delete)
        assert deleted
        assert tracker.flush(60)
    with held("told"):
        assert "deleted or replaced" in caplog.text
    with held("states", "metrics"):
        assert metrics_of(uri) == all_metrics()


def test_a_replaced_database_gets_all_that_was_logged(
    held: Held, uri: str, tmp_path: Path, empty_database: Path
) -> None:
    held.fault = "tracking: database replaced in mid-run"
    with opened(uri, tmp_path) as tracker:

        def replace(trial: int, step: int) -> None:
            if trial == 2 and step == STEPS // 2:
                assert tracker.flush(30)
                shutil.copyfile(empty_database, tmp_path / "other.db")
                (tmp_path / "other.db").replace(tmp_path / "mlflow.db")

        tell(tracker, replace)
        assert tracker.flush(60)
    with held("states", "metrics"):
        assert metrics_of(uri) == all_metrics()


def test_a_database_brought_back_from_a_copy_gets_what_the_copy_lacks(
    held: Held, uri: str, tmp_path: Path
) -> None:
    held.fault = "tracking: database brought back from an older copy between two runs"
    with opened(uri, tmp_path) as tracker:
        tracker.start_run("first", "first")
        assert tracker.flush(30)
        shutil.copyfile(tmp_path / "mlflow.db", tmp_path / "older.db")
        tell(tracker)
    shutil.copyfile(tmp_path / "older.db", tmp_path / "mlflow.db")
    with opened(uri, tmp_path) as tracker:
        tracker.end_run("first", "FINISHED")
        assert tracker.flush(60)
    with held("states", "metrics"):
        assert {**all_metrics(), "first": []} == metrics_of(uri)


def metrics_of(uri: str) -> dict[str, list[tuple[int, float]]]:
    """Return the accuracies of every run, by its name; the runs have ended."""
    client = open_client(uri)
    runs = runs_of(client, "exp")
    assert {run.info.status for run in runs.values()} <= {"FINISHED", "KILLED"}
    return {
        name: [
            (point.step, point.value)
            for point in client.get_metric_history(run.info.run_id, "val/acc1")
        ]
        for name, run in runs.items()
    }


def all_metrics() -> dict[str, list[tuple[int, float]]]:
    trials = {
        f"trial {trial}": [(step, float(trial + step)) for step in range(STEPS)]
        for trial in range(3)
    }
    return {"sweep": [], "teacher": [(1, 90.0)], **trials}
