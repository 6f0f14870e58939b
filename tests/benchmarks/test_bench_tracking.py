"""The tracking benchmark runs, and the leaderboard it times says what the plain one says."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks.tracking_store import EXPERIMENT, fill
from mlfd_tune.tracking import leaderboard
from mlfd_tune.tracking.client import open_client

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.slow
def test_the_benchmark_runs_and_both_leaderboards_have_the_same_means() -> None:
    # In a process of its own: it counts all children, and plain MLflow has a global address.
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks", "tracking", "--quick"],
        cwd=ROOT,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=600,
    )

    assert done.returncode == 0, done.stderr
    assert "Both give the same mean accuracies" in done.stdout
    assert done.stdout.count("logging's share of a sweep's") == 2


def test_a_filled_database_holds_what_was_asked_for_as_mlflow_would_have_logged_it(
    tmp_path: Path,
) -> None:
    uri = fill(tmp_path / "mlflow.db", 45)

    client = open_client(uri)
    experiment = client.get_experiment_by_name(EXPERIMENT)
    assert experiment is not None
    runs = client.search_runs([experiment.experiment_id])
    assert len(runs) == 45 + 1
    trial = next(run for run in runs if run.data.tags["mlfd.kind"] == "trial")
    assert len(trial.data.params) == 57
    history = client.get_metric_history(trial.info.run_id, "val/acc1")
    assert [point.step for point in history] == [1, 2, 3, 4, 5]
    assert history[-1].value == trial.data.metrics["val/acc1"]
    assert {row.status for row in leaderboard(uri, EXPERIMENT)} == {"confirmed", "provisional"}
