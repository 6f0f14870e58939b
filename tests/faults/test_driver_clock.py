"""The system's clock is set forward and back by hours while a sweep runs."""

from __future__ import annotations

import signal
from pathlib import Path

import pytest

from tests.helpers.command import mlfd_tune
from tests.helpers.faults.all_of_them import check_all
from tests.helpers.faults.checks import Snapshot
from tests.helpers.faults.clock import Clock, can_be_set
from tests.helpers.faults.dying import Point
from tests.helpers.faults.moments import published, reported
from tests.helpers.faults.record import Held
from tests.helpers.faults.sweep import FILE, NAME, Driver, prepare, undisturbed

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not can_be_set(), reason="needs a C compiler"),
]


@pytest.mark.whole_matrix
def test_a_sweep_does_not_mind_that_the_clock_is_set(
    held: Held, tmp_path: Path, empty_database: Path
) -> None:
    held.fault = "clock set by hours, and the driver killed"
    expected = undisturbed(empty_database)
    folder = prepare(tmp_path / "sweep", empty_database)
    before = Snapshot.take()
    clock = Clock(tmp_path / "clock")
    point = Point(
        "in a trial", "driver", "mlfd_tune.tune.studies:Studies.report", count=7, after=True
    )

    clock.differs_by(5)
    with Driver(folder, environment=clock.environment | point.environment(folder)) as driver:
        driver.wait_until(lambda: published(folder, "teacher") == 1)
        clock.differs_by(-5)
        driver.wait_until(lambda: reported(folder) >= 3)
        clock.differs_by(7)
        assert driver.wait() == -signal.SIGKILL, driver.output
    clock.differs_by(-24)
    with Driver(folder, "run", FILE, "--resume", environment=clock.environment) as driver:
        assert driver.wait() == 0, driver.output

    check_all(held, folder, before, expected)
    with held("goes on"):
        mlfd_tune("plot", "timeline", NAME, cwd=folder)
