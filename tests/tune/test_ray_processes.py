"""What is left of a Ray session is known by the files it holds open, ended, and removed."""

from __future__ import annotations

import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest

from mlfd_tune.tune.ray_processes import clear_session, session_processes, watched

HOLD = """
import sys, time
file = open(sys.argv[1])
print("holds it", flush=True)
time.sleep(600)
"""
Start = Callable[..., subprocess.Popen[str]]


@pytest.fixture
def start() -> Iterator[Start]:
    """Starts a process that holds a file open."""
    started = []

    def begin(program: Path, held: Path) -> subprocess.Popen[str]:
        program.parent.mkdir(parents=True, exist_ok=True)
        program.write_text(HOLD)
        process = subprocess.Popen(
            [sys.executable, str(program), str(held)], stdout=subprocess.PIPE, text=True
        )
        started.append(process)
        assert process.stdout is not None
        assert process.stdout.readline() == "holds it\n"
        return process

    yield begin
    for process in started:
        process.kill()
        process.communicate()


@pytest.fixture
def session(tmp_path: Path) -> Path:
    folder = tmp_path / "session_1"
    (folder / "logs").mkdir(parents=True)
    (folder / "logs" / "raylet.out").touch()
    (tmp_path / "session_latest").symlink_to(folder)
    return folder


def test_the_processes_of_a_session_are_rays_and_hold_its_files(
    start: Start, session: Path, tmp_path: Path
) -> None:
    other = tmp_path / "session_12" / "logs"
    other.mkdir(parents=True)
    (other / "raylet.out").touch()
    own = start(tmp_path / "ray" / "agent.py", session / "logs" / "raylet.out")
    start(tmp_path / "ray" / "agent.py", other / "raylet.out")
    start(tmp_path / "somebody" / "looks.py", session / "logs" / "raylet.out")
    assert [process.pid for process in session_processes(session)] == [own.pid]


def test_clearing_a_session_ends_them_and_removes_the_folder(
    start: Start, session: Path, tmp_path: Path
) -> None:
    process = start(tmp_path / "ray" / "agent.py", session / "logs" / "raylet.out")
    clear_session(session, patience_s=0.0)
    assert not psutil.pid_exists(process.pid)
    assert not session.exists()
    assert not (tmp_path / "session_latest").is_symlink()


def test_a_link_to_another_session_stays(session: Path, tmp_path: Path) -> None:
    (tmp_path / "session_2").mkdir()
    (tmp_path / "session_latest").unlink()
    (tmp_path / "session_latest").symlink_to(tmp_path / "session_2")
    clear_session(session)
    assert (tmp_path / "session_latest").exists()


def test_clearing_what_is_not_there_does_nothing(tmp_path: Path) -> None:
    clear_session(tmp_path / "session_3")


def test_the_death_of_a_daemon_is_told_once(start: Start, session: Path, tmp_path: Path) -> None:
    lives = start(tmp_path / "one.py", session / "logs" / "raylet.out")
    dies = start(tmp_path / "other.py", session / "logs" / "raylet.out")
    lost: list[str] = []
    told = threading.Event()

    def lose(name: str) -> None:
        lost.append(name)
        told.set()

    daemons = {"one": psutil.Process(lives.pid), "other": psutil.Process(dies.pid)}
    with watched(daemons, lose):
        dies.kill()
        assert told.wait(60)
    assert lost == ["other"]
