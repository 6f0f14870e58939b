"""A disk that is full ends a run with one line, and the run goes on when there is space again."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from pathlib import Path

import optuna
import pytest
from optuna.trial import TrialState

from mlfd_tune.config.search import StudySettings
from mlfd_tune.core.errors import UserError
from mlfd_tune.tune.plans import StudyPlan
from mlfd_tune.tune.studies import Studies
from tests.helpers.disks import SmallDisk, small_disk
from tests.helpers.faults.all_of_them import check_all
from tests.helpers.faults.checks import (
    Snapshot,
    check_artifacts,
    check_best,
    check_leaks,
    check_metrics,
    check_states,
)
from tests.helpers.faults.dying import CHECKPOINT_EVERY_EPOCH, Point
from tests.helpers.faults.record import Held
from tests.helpers.faults.sweep import FILE, Driver, fault_sweep, prepare, undisturbed

PLAN = StudyPlan(
    "digits",
    StudySettings(trials=4000, sampler="random", space={"distillation.alpha": {"float": [0, 1]}}),
    epochs=3,
    base_levels=("L1",),
    seed=0,
)


def test_studies_on_a_full_disk_say_so_and_record_nothing_more(tmp_path: Path) -> None:
    with small_disk(tmp_path / "run", "1m") as disk:
        studies = Studies(disk.path / "studies.db", [PLAN])
        with pytest.raises(UserError) as full:
            ask_for_all(studies)
        (line,) = full.value.problems
        assert str(disk.path / "studies.db") in line
        assert "full" in line
        assert "--resume" in line
        disk.grow("16m")
        with pytest.raises(UserError):  # nothing is recorded after what is not
            studies.report("t0", 1, 50.0)

        again = Studies(disk.path / "studies.db", [PLAN])
        assert len(again.reconcile().again) > 10
        assert again.ask("next").number == 0
        again.report("next", 1, 50.0)
        study = optuna.load_study(study_name="digits", storage=again.url)
        assert study.trials[0].intermediate_values == {1: 50.0}
        assert {trial.state for trial in study.trials} == {TrialState.RUNNING}


def ask_for_all(studies: Studies) -> None:
    for number in range(PLAN.settings.trials):
        studies.ask(f"t{number}")


def artifacts(stage: str, number: int) -> Callable[[Path], bool]:
    """Return a look whether so many artifacts of a stage are there."""
    place = f".mlfd/store/artifacts/{stage}/*/manifest.json"
    return lambda folder: len(list(folder.glob(place))) >= number


def ended(number: int) -> Callable[[Path], bool]:
    """Return a look whether so many trials are over."""

    def look(folder: Path) -> bool:
        found = list(folder.glob("runs/tiny/*/ended.txt"))
        return bool(found) and len(found[0].read_text().splitlines()) >= number

    return look


MOMENTS = {
    "while images are packed": artifacts("dataset", 1),
    "while teachers are trained": artifacts("dataset", 2),
    "while features are written": artifacts("teacher", 2),
    "while the joint teacher is trained": artifacts("features", 4),
    "while targets are written": artifacts("joint_teacher", 1),
    "while students are searched": ended(1),
    "while students are confirmed": ended(7),
}


@pytest.mark.slow
@pytest.mark.whole_matrix
@pytest.mark.parametrize("moment", MOMENTS)
def test_a_store_that_is_full(
    moment: str, tmp_path: Path, empty_database: Path, held: Held
) -> None:
    held.fault = f"the store's disk full {moment}"
    fill_and_go_on(".mlfd/store", MOMENTS[moment], tmp_path, empty_database, held)


@pytest.mark.whole_matrix
@pytest.mark.slow
@pytest.mark.parametrize("moment", ["while students are searched", "while students are confirmed"])
def test_a_folder_of_runs_whose_disk_is_full(
    moment: str, tmp_path: Path, empty_database: Path, held: Held
) -> None:
    """Studies, what waits for MLflow, and Ray's files are all on it."""
    held.fault = f"the disk of runs full {moment}"
    fill_and_go_on("runs", MOMENTS[moment], tmp_path, empty_database, held)


def fill_and_go_on(
    place: str, moment: Callable[[Path], bool], tmp_path: Path, database: Path, held: Held
) -> None:
    """Fill a disk in the middle of a sweep; free it when the sweep has ended, and resume."""
    folder = prepare(tmp_path / "sweep", database)
    before = Snapshot.take()
    with small_disk(folder / place, "96m") as disk:
        full(folder, disk, moment, held)
        disk.empty()
        with Driver(folder, "run", FILE, "--resume") as driver:
            assert driver.wait() == 0, driver.output
        with held("states"):
            check_states(folder)
        with held("artifacts"):
            check_artifacts(folder)
        with held("metrics"):
            check_metrics(folder)
        with held("best"):
            check_best(folder, undisturbed(database))
        with held("leaks"):
            check_leaks(before, folder)


def full(folder: Path, disk: SmallDisk, moment: Callable[[Path], bool], held: Held) -> None:
    with Driver(folder) as driver:
        driver.wait_until(lambda: moment(folder))
        disk.fill()
        code = driver.wait()
        with held("told"):
            assert code == 2, driver.output
            assert "Traceback" not in driver.output
            (line,) = [one for one in driver.output.splitlines() if one.startswith("error: ")]
            assert str(disk.path) in line
            assert "full" in line or "no space left" in line
    with held("artifacts"):
        check_artifacts(folder)


@pytest.mark.slow
@pytest.mark.whole_matrix
def test_a_sweep_goes_on_while_the_disk_of_rays_own_logs_is_full(
    tmp_path: Path, empty_database: Path, held: Held
) -> None:
    held.fault = "the disk of Ray's temporary files full"
    folder = prepare(tmp_path / "sweep", empty_database)
    before = Snapshot.take()
    place = Path(tempfile.mkdtemp(prefix="r"))  # names of sockets may not be longer than 107 bytes
    with small_disk(place, "64m") as disk:
        with Driver(folder, environment={"RAY_TMPDIR": str(place)}) as driver:
            driver.wait_until(lambda: ended(1)(folder))
            disk.fill()
            with held("goes on"):
                assert driver.wait() == 0, driver.output
            with held("told"):
                assert "Traceback" not in driver.output
        check_all(held, folder, before, undisturbed(empty_database))
    place.rmdir()


@pytest.mark.slow
@pytest.mark.whole_matrix
def test_without_room_for_checkpoints_a_sweep_goes_on_and_says_so_once(
    tmp_path: Path, empty_database: Path, held: Held
) -> None:
    held.fault = "the store's disk full but for what is finished"
    content = fault_sweep(
        method="none",
        datasets={"digits": {"source": "digits", "train_size": 80}},
        teachers={},
        student={"train": {"epochs": 20, "batch_size": 32}},
        confirm={"top_k": 0},
    )
    rates = {"student.train.lr": {"float": [0.01, 0.02]}}
    content["search"] |= {"trials": 1, "scheduler": "none", "space": rates}
    folder = prepare(tmp_path / "sweep", empty_database, content)
    never = Point("never", "driver", file="of no such name", constants=CHECKPOINT_EVERY_EPOCH)
    with (
        small_disk(folder / ".mlfd" / "store", "96m") as disk,
        Driver(folder, environment=never.environment(folder)) as driver,
    ):
        driver.wait_until(lambda: artifacts("dataset", 1)(folder))
        disk.fill(leave=2_000_000)  # a student takes 1.2 MB, a checkpoint twice as much
        with held("goes on"):
            assert driver.wait() == 0, driver.output
        with held("told"):
            (line,) = [one for one in driver.output.splitlines() if "no checkpoint" in one]
            assert "the disk is full: it needs" in line
        with held("artifacts"):
            check_artifacts(folder)
