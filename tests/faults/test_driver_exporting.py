"""`mlfd-tune export` that is killed leaves nothing that could be taken for an export."""

from __future__ import annotations

import signal
from pathlib import Path

import pytest

from tests.helpers.command import mlfd_tune
from tests.helpers.faults.checks import Snapshot, check_gone
from tests.helpers.faults.dying import Point
from tests.helpers.faults.record import Held
from tests.helpers.faults.sweep import NAME, Driver, fault_sweep, prepare

pytestmark = [pytest.mark.slow, pytest.mark.whole_matrix]

KINDS = ("md", "safetensors", "yaml")
MOVED = r"exports/\.export-.*/"


@pytest.mark.parametrize("count", [1, 3])
def test_a_killed_export_is_made_again_by_the_next_one(
    count: int, held: Held, tmp_path: Path, empty_database: Path
) -> None:
    held.fault = f"export killed before file {count}"
    folder = prepare(tmp_path / "sweep", empty_database, fault_sweep(confirm={"top_k": 0}))
    with Driver(folder) as driver:
        assert driver.wait() == 0, driver.output
    before = Snapshot.take()

    point = Point("as its files are moved", "driver", file=MOVED, count=count)
    with Driver(folder, "export", NAME, environment=point.environment(folder)) as driver:
        assert driver.wait() == -signal.SIGKILL, driver.output
    with held("artifacts"):  # what names the others comes after them
        for config in (folder / "exports").glob("*.yaml"):
            assert config.with_suffix(".safetensors").exists()
        mlfd_tune("export", NAME, cwd=folder)
        mlfd_tune("train", f"exports/{next(iter(fault_sweep()['datasets']))}.yaml", cwd=folder)
        left = {path.name for path in (folder / "exports").iterdir()}
        assert left == {f"{d}.{kind}" for d in fault_sweep()["datasets"] for kind in KINDS}
    with held("leaks"):
        check_gone(before, folder)
