"""What listens listens to this machine only, unless it is told otherwise; then a line warns."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from mlfd_tune.core.uris import is_loopback
from tests.helpers.command import ENVIRONMENT, command
from tests.helpers.servers import free_port

SESSION = """
import logging, os
from mlfd_tune.tune.ray_session import ray_session
import psutil, ray
from mlfd_tune.config.schema import ResourceSettings

logging.basicConfig(format="%(levelname)s: %(message)s")
with ray_session(ResourceSettings(), 1):
    ray.get(ray.remote(lambda: 1).options(num_cpus=0).remote())
    me = psutil.Process()
    for process in [me, *me.children(recursive=True)]:
        for connection in process.net_connections(kind="inet"):
            if connection.status == psutil.CONN_LISTEN:
                print("listens", process.name(), connection.laddr.ip)
    print("token", os.environ.get("RAY_AUTH_TOKEN"))
"""


def session(home: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    """Start Ray as a run does, in a process of its own, and tell where it listens."""
    kept = {name: value for name, value in ENVIRONMENT.items() if not name.startswith("RAY_")}
    done = subprocess.run(
        [sys.executable, "-c", SESSION],
        env=kept | {"HOME": str(home), "RAY_TMPDIR": "/tmp"} | environment,
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    return done


def addresses(done: subprocess.CompletedProcess[str]) -> set[str]:
    found = {line.split()[-1] for line in done.stdout.splitlines() if line.startswith("listens")}
    assert found
    return found


@pytest.mark.slow
def test_ray_listens_on_loopback_with_a_token_of_its_own(tmp_path: Path) -> None:
    done = session(tmp_path)

    assert {address for address in addresses(done) if not is_loopback(address)} == set()
    assert "WARNING" not in done.stderr
    (token,) = [line for line in done.stdout.splitlines() if line.startswith("token")]
    assert len(token.removeprefix("token ")) >= 32
    assert not list(tmp_path.rglob("*")), "the token lies in a file of the home folder"


@pytest.mark.slow
def test_ray_that_others_can_reach_is_warned_of(tmp_path: Path) -> None:
    done = session(tmp_path, RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER="1")

    if all(map(is_loopback, addresses(done))):
        pytest.skip("this machine has no address but loopback")
    warnings = [line for line in done.stderr.splitlines() if line.startswith("WARNING")]
    assert len(warnings) == 1
    assert "whoever reaches it" in warnings[0]


class Ui:
    """`mlfd-tune ui` in a process of its own, ended with all that it started."""

    def __init__(self, folder: Path, *arguments: str, **environment: str) -> None:
        self.port = free_port()
        self.log = folder / "ui.log"
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(
                command("ui", "--port", str(self.port), *arguments),
                cwd=folder,
                env=ENVIRONMENT | environment,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    def __enter__(self) -> Ui:
        return self

    def __exit__(self, *_: object) -> None:
        os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()

    def processes(self) -> list[psutil.Process]:
        own = psutil.Process(self.process.pid)
        return [own, *own.children(recursive=True)]

    def listening(self) -> set[str]:
        """Wait until it listens, and return where."""
        end = time.monotonic() + 180
        while time.monotonic() < end:
            assert self.process.poll() is None, self.log.read_text()
            found = {
                connection.laddr.ip
                for process in self.processes()
                for connection in process.net_connections(kind="inet")
                if connection.status == psutil.CONN_LISTEN and connection.laddr.port == self.port
            }
            if found:
                return found
            time.sleep(0.2)
        raise TimeoutError(self.log.read_text())


@pytest.mark.slow
def test_the_pages_of_mlflow_are_for_this_machine(uri: str, tmp_path: Path) -> None:
    with Ui(tmp_path, MLFLOW_TRACKING_URI=f"{uri}?timeout=17") as ui:
        assert all(map(is_loopback, ui.listening()))
        lines = [" ".join(process.cmdline()) for process in ui.processes()]
        assert any("mlflow" in line for line in lines)
        assert not [line for line in lines if "timeout=17" in line], "ps would show the URI"
    assert "warning" not in ui.log.read_text()


def test_pages_for_others_are_warned_of(uri: str, tmp_path: Path) -> None:
    with Ui(tmp_path, "--host", "0.0.0.0", MLFLOW_TRACKING_URI=uri) as ui:
        end = time.monotonic() + 60
        while "http://" not in ui.log.read_text() and time.monotonic() < end:
            time.sleep(0.1)

    warnings = [line for line in ui.log.read_text().splitlines() if line.startswith("warning:")]
    assert len(warnings) == 1
    assert "can read, change and delete all runs" in warnings[0]
