"""Ctrl-C once: what runs comes to a point from which it can go on. Twice: now."""

from __future__ import annotations

import signal
from dataclasses import replace
from pathlib import Path

import pytest

from tests.helpers.faults.all_of_them import check_all
from tests.helpers.faults.checks import Snapshot, check_gone
from tests.helpers.faults.dying import Point
from tests.helpers.faults.moments import published, reported
from tests.helpers.faults.outcome import recorded
from tests.helpers.faults.record import Held
from tests.helpers.faults.sweep import FILE, Driver, prepare, undisturbed

pytestmark = pytest.mark.slow

TRAIN_EPOCH = "mlfd_tune.core.training.trainer:Trainer.train_epoch"
GO_ON = f"interrupted; go on with: mlfd-tune run {FILE} --resume"
LONGER_THAN_THE_TEST_S = 600.0


def signalled(number: signal.Signals, epoch: int, stays_s: float = 0.0) -> Point:
    """Return a point in the n-th epoch that is trained, where somebody stops the run.

    A terminal sends Ctrl-C to all that was started in it, a scheduler SIGTERM to what it started.
    Two teachers have three epochs each, and a joint teacher two; the ninth is a trial's first.
    """
    return Point(
        number.name,
        "worker",
        TRAIN_EPOCH,
        count=epoch,
        dies="terminal" if number == signal.SIGINT else "driver",
        number=number,
        stays_s=stays_s,
    )


@pytest.mark.whole_matrix
@pytest.mark.parametrize(
    "number",
    [
        pytest.param(signal.SIGINT, id="ctrl-c"),
        pytest.param(signal.SIGTERM, id="sigterm"),
    ],
)
def test_one_signal_lets_a_trial_end_its_epoch_and_saves_it(
    number: signal.Signals, held: Held, tmp_path: Path, empty_database: Path
) -> None:
    held.fault = f"{number.name} once, in a trial"
    # It stays for longer than the driver takes to hear of it, as epochs do that are worth a stop.
    point = signalled(number, epoch=10, stays_s=3.0)
    expected = undisturbed(empty_database)
    folder = prepare(tmp_path / "sweep", empty_database)
    before = Snapshot.take()

    with Driver(folder, environment=point.environment(folder)) as driver:
        assert driver.wait() == 130, driver.output
    with held("told"):
        *_, finishing, last = driver.output.splitlines()
        assert finishing.startswith("finishing: ")
        assert last == GO_ON
    assert reported(folder) == 2
    assert "RUNNING" not in {run.info.status for run in recorded(folder).runs}
    assert len(list(folder.glob(".mlfd/store/work/**/checkpoint.pt"))) == 1

    with Driver(folder, "run", FILE, "--resume") as driver:
        assert driver.wait() == 0, driver.output
    with held("goes on"):
        assert "; 2 of " in driver.output  # epochs that were taken from the store
    check_all(held, folder, before, expected)


@pytest.mark.whole_matrix
def test_one_signal_leaves_a_teacher_off_after_its_epoch(
    held: Held, tmp_path: Path, empty_database: Path
) -> None:
    held.fault = "SIGINT once, in a teacher"
    expected = undisturbed(empty_database)
    folder = prepare(tmp_path / "sweep", empty_database)
    before = Snapshot.take()

    with Driver(
        folder, environment=signalled(signal.SIGINT, epoch=2, stays_s=3.0).environment(folder)
    ) as driver:
        assert driver.wait() == 130, driver.output
    with held("told"):
        assert driver.output.splitlines()[-1] == GO_ON
    assert published(folder, "teacher") == 0
    assert len(list(folder.glob(".mlfd/store/work/**/checkpoint.pt"))) == 1

    with Driver(folder, "run", FILE, "--resume") as driver:
        assert driver.wait() == 0, driver.output
    check_all(held, folder, before, expected)


@pytest.mark.whole_matrix
def test_a_service_that_is_stopped_with_all_its_processes_can_be_resumed(
    held: Held, tmp_path: Path, empty_database: Path
) -> None:
    held.fault = "SIGTERM to all processes"
    expected = undisturbed(empty_database)
    folder = prepare(tmp_path / "sweep", empty_database)
    before = Snapshot.take()
    point = replace(signalled(signal.SIGTERM, epoch=10), dies="terminal")

    with Driver(folder, environment=point.environment(folder)) as driver:
        assert driver.wait() == 130, driver.output
    with held("told"):
        assert driver.output.splitlines()[-1] == GO_ON
        assert "Traceback" not in driver.output

    with Driver(folder, "run", FILE, "--resume") as driver:
        assert driver.wait() == 0, driver.output
    check_all(held, folder, before, expected)


@pytest.mark.parametrize("again", [True, False], ids=["ctrl-c-twice", "sigterm-in-a-long-epoch"])
@pytest.mark.whole_matrix
def test_a_second_signal_or_the_time_after_sigterm_stops_a_run_that_does_not_finish(
    again: bool, held: Held, tmp_path: Path, empty_database: Path
) -> None:
    held.fault = "SIGINT twice" if again else "SIGTERM in a long epoch"
    expected = undisturbed(empty_database)
    folder = prepare(tmp_path / "sweep", empty_database)
    before = Snapshot.take()
    number = signal.SIGINT if again else signal.SIGTERM
    point = signalled(number, epoch=9, stays_s=LONGER_THAN_THE_TEST_S)

    with Driver(folder, environment=point.environment(folder)) as driver:
        driver.wait_until(lambda: "finishing: " in driver.output)
        if again:
            driver.interrupt()
        assert driver.wait() == 130, driver.output
    with held("told"):
        assert driver.output.splitlines()[-1] == GO_ON
        assert "Traceback" not in driver.output
    assert reported(folder) == 0
    assert "RUNNING" not in {run.info.status for run in recorded(folder).runs}
    check_gone(before, folder)

    with Driver(folder, "run", FILE, "--resume") as driver:
        assert driver.wait() == 0, driver.output
    check_all(held, folder, before, expected)
