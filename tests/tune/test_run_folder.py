"""The folder of a run: which one is resumed, and that only one driver is at it."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from mlfd_tune.config import Loaded, load_experiment
from mlfd_tune.core.errors import UserError
from mlfd_tune.tune.run_folder import RunFolder
from tests.helpers.command import write_yaml
from tests.helpers.experiments import tiny_sweep

CREATE = """
import sys, time
from mlfd_tune.config import load_experiment
from mlfd_tune.tune.run_folder import RunFolder
folder = RunFolder.create(load_experiment(sys.argv[1]))
print(folder.id, flush=True)
time.sleep(600)
"""


@pytest.fixture
def loaded(tmp_path: Path) -> Loaded:
    return load_experiment(
        write_yaml(tmp_path / "tiny.yaml", tiny_sweep(runs=str(tmp_path / "runs")))
    )


@pytest.fixture
def other_driver(loaded: Loaded) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """A process that holds a new run, and the name of the run."""
    process = subprocess.Popen(
        [sys.executable, "-c", CREATE, str(loaded.path)], stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    yield process, process.stdout.readline().strip()
    process.kill()
    process.communicate()


def test_the_run_that_was_started_last_is_resumed(loaded: Loaded) -> None:
    ids = []
    for _ in range(3):
        folder = RunFolder.create(loaded)
        folder.release()
        ids.append(folder.id)
    assert RunFolder.unfinished(loaded).id == ids[-1]


def test_also_where_the_clock_was_set_back_in_between(loaded: Loaded) -> None:
    early = RunFolder.create(loaded)
    early.release()
    early.path.rename(early.path.with_name("29990101-000000"))
    late = RunFolder.create(loaded)
    late.release()
    assert RunFolder.unfinished(loaded).id == late.id


def test_a_finished_run_is_not_resumed(loaded: Loaded) -> None:
    first, second = RunFolder.create(loaded), RunFolder.create(loaded)
    first.release()
    second.finish()
    second.release()
    assert RunFolder.unfinished(loaded).id == first.id


def test_there_is_nothing_to_resume_where_no_run_was_begun(loaded: Loaded) -> None:
    with pytest.raises(UserError, match=r"--resume: tiny has no unfinished run in .*; run it with"):
        RunFolder.unfinished(loaded)


def test_a_run_has_one_driver(
    loaded: Loaded, other_driver: tuple[subprocess.Popen[str], str]
) -> None:
    process, run = other_driver
    with pytest.raises(UserError, match=f"run {run} of tiny still goes on: process {process.pid}"):
        RunFolder.unfinished(loaded)


def test_a_driver_that_is_killed_lets_go_of_its_run(
    loaded: Loaded, other_driver: tuple[subprocess.Popen[str], str]
) -> None:
    process, run = other_driver
    process.kill()
    process.wait()
    assert RunFolder.unfinished(loaded).id == run


def test_only_what_the_dead_left_is_to_be_cleared(
    loaded: Loaded, other_driver: tuple[subprocess.Popen[str], str], tmp_path: Path
) -> None:
    process, run = other_driver
    RunFolder(tmp_path / "runs" / "tiny" / run).note_ray_session(tmp_path / "session")
    assert list(RunFolder.left_by_the_dead(loaded)) == []

    process.kill()
    process.wait()
    (left,) = RunFolder.left_by_the_dead(loaded)
    assert left.ray_session == tmp_path / "session"

    left.note_ray_session(None)
    left.release()
    assert list(RunFolder.left_by_the_dead(loaded)) == []
