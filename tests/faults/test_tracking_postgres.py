"""PostgreSQL as the tracking database itself: it crashes, hangs, and refuses what SQLite takes."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from mlfd_tune.tracking import Tracker, open_client, reachable
from tests.helpers.faults.record import Held
from tests.helpers.servers import Postgres, postgres
from tests.helpers.tracked import STEPS, check_once, runs_of, tell

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("postgres")]


NAME = "tracking"


@pytest.fixture(scope="module")
def database() -> Iterator[Postgres]:
    with postgres() as running:
        running.create(NAME)
        yield running


@pytest.fixture(autouse=True)
def in_a_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)  # where MLflow puts artifacts


def opened(uri: str, experiment: str, folder: Path) -> Tracker:
    return Tracker(uri, experiment, folder / "outbox", linger_s=0.01, first_retry_s=0.05)


def test_a_database_that_crashes_amid_the_records_has_each_once(
    held: Held, database: Postgres, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    held.fault = "tracking: PostgreSQL crashes and comes back"

    def crash(trial: int, step: int) -> None:
        if step == STEPS // 2 and trial < 2:
            time.sleep(0.2)  # so that the sender is at work
            database.stop()
            if trial:
                time.sleep(1)
            database.start()

    with opened(database.database(NAME), "crashed", tmp_path) as tracker:
        tracker.start_run("parent", "sweep")
        assert tracker.flush(120)
        tell(tracker, crash)
        assert tracker.flush(120)
    with held("told"):
        assert caplog.text.count("cannot be reached") >= 1
    with held("states", "metrics"):
        check_once(database.database(NAME), "crashed", tmp_path)
        assert not (tmp_path / "outbox" / "rejected.jsonl").exists()


def test_a_database_that_takes_no_writes_for_a_while_has_each_record_once(
    held: Held, database: Postgres, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    held.fault = "tracking: PostgreSQL can only be read for a while"
    uri = database.database(NAME)
    with opened(uri, "read only", tmp_path) as tracker:
        tracker.start_run("parent", "sweep")
        assert tracker.flush(120)
        database.set_read_only(NAME, True)
        try:
            tell(tracker)
            until = time.monotonic() + 60
            while "read-only" not in caplog.text:
                assert time.monotonic() < until, caplog.text
                time.sleep(0.05)
        finally:
            database.set_read_only(NAME, False)
        assert tracker.flush(120)
    with held("told"):
        assert caplog.text.count("cannot be reached") == 1
    with held("states", "metrics"):
        check_once(uri, "read only", tmp_path)
        assert not (tmp_path / "outbox" / "rejected.jsonl").exists()


SCRIPT = """
import sys
from pathlib import Path
from mlfd_tune.tracking import Tracker

tracker = Tracker(sys.argv[1], "hanging", Path(sys.argv[2]), linger_s=0.01)
tracker.start_run("t", "trial")
assert tracker.flush(240)
print("ready", flush=True)
sys.stdin.readline()
for step in range(500):
    tracker.log_metrics("t", {"val/acc1": float(step)}, step)
tracker.end_run("t", "FINISHED")
print(tracker.close(1), tracker.pending(), flush=True)
"""


def test_a_database_that_hangs_keeps_no_process_from_ending(
    held: Held, database: Postgres, tmp_path: Path
) -> None:
    held.fault = "tracking: PostgreSQL hangs past the end of the run"
    process = subprocess.Popen(
        [sys.executable, "-c", SCRIPT, database.database(NAME), str(tmp_path / "outbox")],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        database.send(signal.SIGSTOP)
        with held("told"):
            assert "timed out" in (reachable(database.database(NAME), 1) or "")
        said, warned = process.communicate("go\n", timeout=120)
    finally:
        database.send(signal.SIGCONT)
        process.kill()
    with held("goes on"):
        assert (process.returncode, said) == (0, "False 501\n"), warned
    with held("told"):
        assert "501 records wait for the tracking server" in warned

    with opened(database.database(NAME), "hanging", tmp_path) as tracker:
        assert tracker.flush(120)
    with held("states", "metrics"):
        client = open_client(database.database(NAME))
        (run,) = runs_of(client, "hanging").values()
        assert run.info.status == "FINISHED"
        points = client.get_metric_history(run.info.run_id, "val/acc1")
        assert [(point.step, point.value) for point in points] == [
            (step, float(step)) for step in range(500)
        ]


def test_what_sqlite_takes_and_postgresql_does_not_holds_up_nothing(
    held: Held, database: Postgres, tmp_path: Path
) -> None:
    held.fault = "tracking: text that PostgreSQL cannot store"
    with opened(database.database(NAME), "zero", tmp_path) as tracker:
        tracker.start_run("t", "a\0name", tags={"note": "a\0b"}, params={"path": "c\0d"})
        tracker.log_metrics("t", {"val/acc1": float("nan"), "inf": float("inf")}, 1)
        tracker.log_metrics("t", {"val/acc1": 2.0, "inf": 1e308}, 2**62)
        tracker.end_run("t", "FAILED", "bad byte \0 in \ud800 text")
        with held("goes on"):
            assert tracker.flush(60)
    with held("states", "metrics"):
        (run,) = runs_of(open_client(database.database(NAME)), "zero").values()
        assert run.info.status == "FAILED"
        assert run.data.params == {"path": "c\ufffdd"}
        assert run.data.metrics["val/acc1"] == 2.0
        assert not (tmp_path / "outbox" / "rejected.jsonl").exists()
