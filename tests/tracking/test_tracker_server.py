from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

import pytest

from mlfd_tune.tracking.client import open_client, reachable
from mlfd_tune.tracking.tracker import Tracker
from tests.helpers.servers import mlflow_server


def _wait_until(reached: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 60
    while not reached():
        assert time.monotonic() < deadline
        time.sleep(0.005)


@pytest.mark.slow
def test_a_server_killed_midway_gets_every_line_once_when_it_is_back(
    tmp_path: Path, empty_database: Path, caplog: pytest.LogCaptureFixture
) -> None:
    database = tmp_path / "server.db"
    database.write_bytes(empty_database.read_bytes())
    with mlflow_server(tmp_path, f"sqlite:///{database}") as server:
        assert reachable(server.uri) is None
        tracker = Tracker(server.uri, "exp", tmp_path / "outbox", linger_s=0.01)
        tracker.start_run("sweep", "sweep")
        tracker.start_run("t1", "trial 1", parent="sweep", params={"alpha": 0.5})
        assert tracker.flush(60)
        slowest = 0.0
        for step in range(3000):
            begin = time.perf_counter()
            tracker.log_metrics("t1", {"val/acc1": float(step), "bad": float("nan")}, step)
            slowest = max(slowest, time.perf_counter() - begin)
            time.sleep(0.0005)
            if step == 1500:
                _wait_until(lambda: tracker.pending() <= 1500)
                server.kill()  # while the sender is at work
        assert slowest < 0.5
        assert "127.0.0.1" in (reachable(server.uri) or "")
        tracker.start_run("t2", "trial 2", parent="sweep")
        tracker.log_text("t2", "alpha: 0.5\n", "config.yaml")
        tracker.end_run("t2", "FINISHED")
        assert not tracker.flush(3)

        server.start()
        tracker.end_run("t1", "FINISHED")
        tracker.end_run("sweep", "FINISHED")
        assert tracker.flush(60)
        assert tracker.pending() == 0
        run_id, config_id = tracker.run_id("t1"), tracker.run_id("t2")
        tracker.close()

        client = open_client(server.uri)
        experiment = client.get_experiment_by_name("exp")
        assert experiment is not None
        found = client.search_runs([experiment.experiment_id])
        assert sorted(run.info.run_name or "" for run in found) == ["sweep", "trial 1", "trial 2"]
        assert {run.info.status for run in found} == {"FINISHED"}
        assert run_id is not None
        assert config_id is not None
        points = client.get_metric_history(run_id, "val/acc1")
        assert [(point.step, point.value) for point in points] == [
            (step, float(step)) for step in range(3000)
        ]
        assert len(client.get_metric_history(run_id, "bad")) == 3000
        assert [artifact.path for artifact in client.list_artifacts(config_id)] == ["config.yaml"]
    assert not (tmp_path / "outbox" / "rejected.jsonl").exists()
    assert sum("cannot be reached" in record.message for record in caplog.records) == 1
