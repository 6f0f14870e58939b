"""Processes of Ray that die: a worker is replaced, without a daemon the run ends and goes on later.

Left alone, Ray waits for another node when its node manager is dead, and aborts the driver a minute
after the death of its GCS server.
"""

from __future__ import annotations

import signal
from pathlib import Path

import pytest

from tests.helpers.faults.all_of_them import check_all
from tests.helpers.faults.checks import Snapshot
from tests.helpers.faults.dying import Point
from tests.helpers.faults.moments import reported
from tests.helpers.faults.record import Held
from tests.helpers.faults.sweep import FILE, Driver, prepare, undisturbed

pytestmark = [pytest.mark.slow, pytest.mark.whole_matrix]

TRAIN_EPOCH = "mlfd_tune.core.training.trainer:Trainer.train_epoch"
NODE_MANAGER = "Ray's node manager (raylet)"
SAID_AT_MOST = 300  # characters a line


@pytest.mark.parametrize(
    "point",
    [
        pytest.param(
            Point("in a teacher's second epoch", "worker", TRAIN_EPOCH, count=2, dies="worker"),
            id="in-a-teacher",
        ),
        pytest.param(
            Point("in a student's epoch", "worker", TRAIN_EPOCH, count=10, dies="worker"),
            id="in-a-student",
        ),
    ],
)
def test_the_work_of_a_worker_that_is_killed_goes_on_in_another(
    point: Point, held: Held, tmp_path: Path, empty_database: Path
) -> None:
    held.fault = f"worker killed {point.name}"
    expected = undisturbed(empty_database)
    folder = prepare(tmp_path / "sweep", empty_database)
    before = Snapshot.take()

    with Driver(folder, environment=point.environment(folder)) as driver, held("goes on"):
        assert driver.wait() == 0, driver.output
        assert point.marker(folder).exists()
    with held("told"):
        assert driver.output.count("tried again") == 1
        assert "Traceback" not in driver.output

    check_all(held, folder, before, expected)


@pytest.mark.parametrize(
    ("program", "name", "number"),
    [
        pytest.param("raylet", NODE_MANAGER, signal.SIGKILL, id="node-manager"),
        # It says good-bye, and so Ray knows of its end before anybody has looked for it.
        pytest.param("raylet", NODE_MANAGER, signal.SIGTERM, id="node-manager-asked"),
        pytest.param("gcs_server", "Ray's GCS server", signal.SIGKILL, id="gcs-server"),
    ],
)
def test_a_driver_whose_ray_is_killed_says_so_and_can_be_resumed(
    program: str,
    name: str,
    number: signal.Signals,
    held: Held,
    tmp_path: Path,
    empty_database: Path,
) -> None:
    held.fault = f"{program} " + ("killed" if number == signal.SIGKILL else "asked to end")
    expected = undisturbed(empty_database)
    folder = prepare(tmp_path / "sweep", empty_database)
    before = Snapshot.take()

    with Driver(folder) as driver:
        driver.wait_until(lambda: reported(folder) >= 2)
        (daemon,) = (found for found in driver.processes() if found.name() == program)
        daemon.send_signal(number)
        assert driver.wait() == 1, driver.output
    with held("told"):
        *_, last = driver.output.splitlines()
        assert last == (
            f"error: {name} died; what was finished is kept; "
            f"go on with: mlfd-tune run {FILE} --resume"
        )
        assert "Traceback" not in driver.output
        assert max(map(len, driver.output.splitlines())) < SAID_AT_MOST

    with Driver(folder, "run", FILE, "--resume") as driver:
        assert driver.wait() == 0, driver.output
    check_all(held, folder, before, expected)
