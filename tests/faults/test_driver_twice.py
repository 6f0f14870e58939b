"""Two drivers of one experiment at the same time, started by mistake."""

from __future__ import annotations

import signal
from collections import Counter
from pathlib import Path

import pytest

from tests.helpers.faults.all_of_them import check_all
from tests.helpers.faults.checks import Snapshot, check_artifacts, check_epochs, check_leaks
from tests.helpers.faults.dying import Point
from tests.helpers.faults.moments import reported
from tests.helpers.faults.outcome import Recorded
from tests.helpers.faults.record import Held
from tests.helpers.faults.sweep import FILE, Driver, prepare, undisturbed

pytestmark = pytest.mark.slow


@pytest.mark.whole_matrix
def test_a_run_that_goes_on_is_not_resumed_by_another_driver(
    held: Held, tmp_path: Path, empty_database: Path
) -> None:
    held.fault = "a run resumed while it goes on"
    expected = undisturbed(empty_database)
    folder = prepare(tmp_path / "sweep", empty_database)
    before = Snapshot.take()

    with Driver(folder) as first:
        first.wait_until(lambda: reported(folder) >= 1)
        first.interrupt(signal.SIGSTOP)  # so that it does not end before the other has looked
        (run,) = folder.glob("runs/tiny/*")
        with Driver(folder, "run", FILE, "--resume") as second:
            assert second.wait() == 2, second.output
        with held("told"):
            (line,) = second.output.splitlines()
            assert f"run {run.name} of tiny still goes on: process {first.process.pid} on " in line
        first.interrupt(signal.SIGCONT)
        assert first.wait() == 0, first.output
    check_all(held, folder, before, expected)


@pytest.mark.whole_matrix
def test_of_two_drivers_that_resume_a_run_one_does(
    held: Held, tmp_path: Path, empty_database: Path
) -> None:
    held.fault = "a run resumed twice"
    expected = undisturbed(empty_database)
    folder = prepare(tmp_path / "sweep", empty_database)
    before = Snapshot.take()
    point = Point(
        "in a trial", "driver", "mlfd_tune.tune.studies:Studies.report", count=2, after=True
    )

    with Driver(folder, environment=point.environment(folder)) as driver:
        driver.wait()
    with (
        Driver(folder, "run", FILE, "--resume") as one,
        Driver(folder, "run", FILE, "--resume") as other,
    ):
        assert sorted([one.wait(), other.wait()]) == [0, 2], one.output + other.output
    with held("told"):
        refused = one if one.process.returncode else other
        assert len(refused.output.splitlines()) == 1
        assert "still goes on" in refused.output
    check_all(held, folder, before, expected)


@pytest.mark.whole_matrix
def test_two_runs_at_once_share_stages_and_both_end(
    held: Held, tmp_path: Path, empty_database: Path
) -> None:
    held.fault = "two runs of an experiment at once"
    expected = undisturbed(empty_database)
    folder = prepare(tmp_path / "sweep", empty_database)
    before = Snapshot.take()

    with Driver(folder) as one, Driver(folder) as other:
        assert (one.wait(), other.wait()) == (0, 0), one.output + other.output

    runs = [Recorded(path.parent, database(folder)) for path in folder.glob("runs/*/*/state.json")]
    assert len(runs) == 2
    with held("states", "best"):
        for run in runs:
            assert {name: trial.state.name for name, trial in run.trials.items()} == expected.states
            assert {name: run.best(name) for name in expected.best} == expected.best
            names = Counter(name for name, _ in run.own_runs("sweep", "trial", "confirm"))
            assert len(names) == 1 + len(run.planned) + run.confirmations
            assert set(names.values()) == {1}
    with held("metrics"):
        stages = [run for run in runs[0].runs if run.data.tags["mlfd.kind"] == "stage"]
        keys = Counter(run.data.tags["mlfd.artifact_key"] for run in stages)
        # MLflow has nothing to lock: where both look for a stage's run at the same moment, and
        # there is none, each makes its own.
        assert set(keys.values()) <= {1, 2}
        for run in runs:
            check_epochs(run)
    with held("artifacts"):
        check_artifacts(folder)
    with held("leaks"):
        check_leaks(before, folder)


def database(folder: Path) -> str:
    return f"sqlite:///{folder / 'mlflow.db'}"
