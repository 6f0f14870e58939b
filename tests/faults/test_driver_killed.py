"""A driver that dies by SIGKILL, wherever it is, loses nothing that was finished.

`--resume` ends the sweep as if nothing had happened: every trial once, every epoch once, the same
numbers to the last bit, and nothing left behind.
"""

from __future__ import annotations

import signal
from pathlib import Path

import pytest

from tests.helpers.faults.all_of_them import check_all
from tests.helpers.faults.checks import (
    Snapshot,
    check_artifacts,
    check_leaks,
    check_metrics,
    check_states,
)
from tests.helpers.faults.dying import CHECKPOINT_EVERY_EPOCH, Point
from tests.helpers.faults.record import Held
from tests.helpers.faults.sweep import FILE, Driver, fault_sweep, prepare, undisturbed

pytestmark = pytest.mark.slow

STAGES = "mlfd_tune.core.stages"
TRAIN_EPOCH = "mlfd_tune.core.training.trainer:Trainer.train_epoch"
STUDIES = "mlfd_tune.tune.studies:Studies"
FOLDER = "mlfd_tune.tune.run_folder:RunFolder"
LOG = "mlfd_tune.tune.run_log:RunLog"

# Before the first trial, two teachers are trained for three epochs each and a joint teacher for
# two; the other dataset's joint teacher comes when the trials of the first are over.
OF_STAGES = [
    Point("as a dataset is read", "worker", f"{STAGES}.dataset:DatasetStage.run"),
    Point("in a teacher's second epoch", "worker", TRAIN_EPOCH, count=2),
    Point(
        "as a teacher's checkpoint is opened",
        "worker",
        event="open",
        file=r"/work/.*checkpoint",
        count=2,
        dies="all",
        constants=CHECKPOINT_EVERY_EPOCH,
    ),
    Point(
        "in the middle of a teacher's checkpoint",
        "worker",
        file=r"/work/.*checkpoint",
        count=2,
        dies="all",
        tears=True,
        constants=CHECKPOINT_EVERY_EPOCH,
    ),
    Point("as a teacher is published", "worker", file=r"/work/.*/out$", count=2, dies="all"),
    Point(
        "as features are written",
        "worker",
        f"{STAGES}.feature_writer:FeatureWriter.write",
        count=2,
        after=True,
    ),
    Point("in a joint teacher's second epoch", "worker", TRAIN_EPOCH, count=8),
    Point(
        "as targets are written",
        "worker",
        f"{STAGES}.target_files:TargetsWriter.write",
        after=True,
        dies="all",
    ),
]

OF_TRIALS = [
    Point("when a trial is drawn", "driver", f"{STUDIES}.draw", count=2, after=True),
    Point("when a trial is handed out", "driver", f"{STUDIES}.hand_out", after=True),
    Point("when an epoch is in Optuna only", "driver", f"{STUDIES}.report", count=2, after=True),
    Point(
        "when an early stop is in Optuna only",
        "driver",
        f"{STUDIES}.should_prune",
        count=3,
        after=True,
    ),
    Point("as a student trains", "worker", TRAIN_EPOCH, count=10),
    Point("before a trial is stopped early", "driver", f"{STUDIES}.should_prune", count=4),
    Point("between a decision and its record", "driver", f"{STUDIES}.settle", count=2),
    Point("when a trial's end is in Optuna only", "driver", f"{LOG}.end_trial", count=2),
    Point("when a trial's end is not yet noted", "driver", f"{FOLDER}.trial_ended", count=3),
    Point("as a student is published", "worker", file=r"/work/.*/out$", count=9),
    Point(
        "in the middle of a student's checkpoint",
        "worker",
        file=r"/work/.*checkpoint",
        count=10,
        dies="all",
        tears=True,
        constants=CHECKPOINT_EVERY_EPOCH,
    ),
    Point(
        "between MLflow and what was sent",
        "driver",
        "mlfd_tune.tracking.ledger:Ledger.remember_sent",
        count=2,
    ),
    Point("when the last trial is over", "driver", f"{FOLDER}.trial_ended", count=6, after=True),
]

OF_THE_END = [
    Point("in the confirmation", "driver", f"{LOG}.trial_result", count=22, after=True),
    Point("as a student is evaluated", "worker", f"{STAGES}.evaluation:EvaluationStage.run"),
    Point("when a confirmation is over", "driver", f"{LOG}.end_trial", count=12, after=True),
    Point("before the sweep's own end", "driver", f"{LOG}.close_parent"),
    Point("when all is sent", "driver", f"{FOLDER}.finish"),
]

REDUCED = {"when an epoch is in Optuna only"}


def killed_at(points: list[Point]) -> list[object]:
    """Return the points as parameters; some are tried without being asked for."""
    return [
        pytest.param(
            point,
            id=point.name.replace(" ", "-"),
            marks=[] if point.name in REDUCED else pytest.mark.whole_matrix,
        )
        for point in points
    ]


@pytest.mark.parametrize("point", killed_at([*OF_STAGES, *OF_TRIALS, *OF_THE_END]))
def test_a_resumed_sweep_ends_as_if_its_driver_had_not_been_killed(
    point: Point, held: Held, tmp_path: Path, empty_database: Path
) -> None:
    held.fault = f"driver killed {point.name}"
    expected = undisturbed(empty_database)
    folder = prepare(tmp_path / "sweep", empty_database)
    before = Snapshot.take()

    with Driver(folder, environment=point.environment(folder)) as driver:
        assert driver.wait() == -signal.SIGKILL, driver.output
    with Driver(folder, "run", FILE, "--resume") as driver:
        assert driver.wait() == 0, driver.output

    check_all(held, folder, before, expected)


@pytest.mark.whole_matrix
def test_a_resumed_sweep_of_two_workers_has_every_trial_and_epoch_once(
    held: Held, tmp_path: Path, empty_database: Path
) -> None:
    held.fault = "driver of two workers killed twice"
    content = fault_sweep(resources={"workers": 2})
    folder = prepare(tmp_path / "sweep", empty_database, content)
    before = Snapshot.take()
    for number, arguments in ((5, ("run", FILE)), (6, ("run", FILE, "--resume"))):
        point = Point(f"at {number}", "driver", f"{STUDIES}.report", count=number, after=True)
        point.marker(folder).unlink(missing_ok=True)
        with Driver(folder, *arguments, environment=point.environment(folder)) as driver:
            assert driver.wait() == -signal.SIGKILL, driver.output
    with Driver(folder, "run", FILE, "--resume") as driver:
        assert driver.wait() == 0, driver.output

    # Which trial is stopped early depends on which worker was faster, so there is no one best.
    with held("states"):
        check_states(folder)
    with held("artifacts"):
        check_artifacts(folder)
    with held("metrics"):
        check_metrics(folder)
    with held("leaks"):
        check_leaks(before, folder)
