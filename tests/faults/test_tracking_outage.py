"""Tracking servers that are away while a sweep runs: for a while, for good, or from the start."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.helpers.command import ENVIRONMENT, command, mlfd_tune
from tests.helpers.faults.checks import (
    Snapshot,
    check_artifacts,
    check_best,
    check_leaks,
    check_metrics,
    check_states,
)
from tests.helpers.faults.record import Held
from tests.helpers.faults.sweep import Driver, fault_sweep, prepare, undisturbed
from tests.helpers.proxies import proxy_to
from tests.helpers.servers import MlflowServer, mlflow_server, postgres

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("mlflow server")]


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[MlflowServer]:
    """A server of our own, since it is killed here."""
    with (
        postgres() as database,
        mlflow_server(tmp_path_factory.mktemp("server"), database.create("outage")) as running,
    ):
        yield running


@pytest.fixture
def running(server: MlflowServer) -> Iterator[MlflowServer]:
    """The server, which runs before the test and after."""
    if server.process is None:
        server.start()
    yield server
    if server.process is not None:
        server.send(signal.SIGCONT)


def swept(folder: Path, database: Path, uri: str, name: str) -> Path:
    """Prepare a sweep in a folder of its own that is tracked at `uri` under a name of its own."""
    content = fault_sweep(tracking={"uri": uri})
    prepare(folder, database, content)
    (folder / "tiny.yaml").rename(folder / f"{name}.yaml")
    (folder / "mlflow.db").unlink()
    return folder


def hold_delivered(held: Held, folder: Path, uri: str) -> None:
    """Hold that a sweep's runs are in MLflow as they are here, with every step once."""
    with held("states"):
        check_states(folder, uri)
    with held("metrics"):
        check_metrics(folder, uri)


def told(text: str) -> int:
    """Return how many records are said to wait, in the one line that says so."""
    (line,) = [line for line in text.splitlines() if "wait for the tracking server" in line]
    found = re.fullmatch(
        r"WARNING: (\d+) records wait for the tracking server in (\S+); "
        r"send them with `mlfd-tune tracking flush`",
        line,
    )
    assert found, line
    assert Path(found[2]).is_dir()
    return int(found[1])


def waits(folder: Path) -> int:
    """Return how many records of the only run in a folder wait."""
    listed = json.loads(mlfd_tune("tracking", "status", "--json", cwd=folder).stdout)
    return sum(entry["records"] for entry in listed)


def test_a_server_that_never_comes_back_gets_all_by_a_flush(
    held: Held, server: MlflowServer, empty_database: Path, tmp_path: Path
) -> None:
    held.fault = "tracking: server away from start to end, and flushed to later"
    before = Snapshot.take()
    server.kill()
    folder = swept(tmp_path / "sweep", empty_database, server.uri, "away")
    with Driver(folder, "run", "away.yaml") as driver:
        ended = driver.wait()
        with held("goes on"):
            assert ended == 0, driver.output
            assert "Traceback" not in driver.output
    with held("told"):
        waiting = told(driver.output)
        assert driver.output.count("cannot be reached") == 1
        assert "mlfd-tune tracking flush && mlfd-tune leaderboard away" in driver.output
        assert waits(folder) == waiting
    with held("leaks"):
        check_leaks(before, folder)

    refused = mlfd_tune("tracking", "flush", cwd=folder, expect=2)
    with held("told"):
        (line,) = refused.stderr.splitlines()
        assert "MLflow cannot be reached" in line
        assert f"{waiting} records wait" in line
        nothing = mlfd_tune("run", "away.yaml", "--resume", cwd=folder, expect=2)
        assert "no unfinished run" in nothing.stderr

    server.start()
    flush_is_killed_midway(folder, waiting)
    sent = mlfd_tune("tracking", "flush", cwd=folder)
    with held("told"):
        assert "records sent to" in sent.stdout
        assert mlfd_tune("tracking", "status", cwd=folder).stdout == "no records wait in runs\n"
    hold_delivered(held, folder, server.uri)
    with held("artifacts"):
        check_artifacts(folder)
        assert list(folder.glob("runs/*/*/tracking/files/*")) == []


def flush_is_killed_midway(folder: Path, waiting: int) -> None:
    """Kill a flush when it has sent something, while a second one is refused."""
    flush = subprocess.Popen(
        command("tracking", "flush"), cwd=folder, env=ENVIRONMENT, stderr=subprocess.DEVNULL
    )
    try:
        until = time.monotonic() + 120
        while waits_in(folder) == waiting:
            assert time.monotonic() < until
            assert flush.poll() is None
            time.sleep(0.005)
        flush.send_signal(signal.SIGSTOP)
        second = mlfd_tune("tracking", "flush", cwd=folder, expect=2)
        (line,) = second.stderr.splitlines()
        assert f"process {flush.pid} is sending its records" in line
    finally:
        flush.kill()
        flush.wait()
    assert 0 < waits_in(folder) < waiting


def waits_in(folder: Path) -> int:
    from mlfd_tune.tracking.waiting import waiting_in

    (outbox,) = folder.glob("runs/*/*/tracking")
    return waiting_in(outbox)


def is_finished(folder: Path) -> bool:
    """Return whether the only run in a folder has been noted as finished."""
    return any(
        '"finished": true' in file.read_text() for file in folder.glob("runs/*/*/state.json")
    )


def logged(folder: Path) -> str:
    """Return what the driver has told the tracker so far."""
    return "".join(path.read_text() for path in folder.glob("runs/*/*/tracking/journal.jsonl"))


@pytest.mark.whole_matrix
def test_a_server_killed_in_mid_sweep_gets_every_record_once_when_it_is_back(
    held: Held, running: MlflowServer, empty_database: Path, tmp_path: Path
) -> None:
    held.fault = "tracking: server killed in mid-sweep and brought back"
    before = Snapshot.take()
    folder = swept(tmp_path / "sweep", empty_database, running.uri, "killed")
    with Driver(folder, "run", "killed.yaml") as driver:
        driver.wait_until(lambda: '"run":"trial/digits/0","step":1' in logged(folder))
        running.kill()
        driver.wait_until(lambda: "cannot be reached" in driver.output)
        driver.interrupt(signal.SIGSTOP)  # a server may take longer to start than a sweep to end
        running.start()
        driver.interrupt(signal.SIGCONT)
        assert driver.wait() == 0, driver.output
    with held("told"):
        assert driver.output.count("cannot be reached") == 1
        assert "wait for the tracking server" not in driver.output
        assert "confirmed" in driver.output  # the leaderboard
    hold_delivered(held, folder, running.uri)
    with held("artifacts"):
        check_artifacts(folder)
    with held("leaks"):
        check_leaks(before, folder)


@pytest.mark.whole_matrix
def test_a_server_that_goes_away_when_all_is_delivered_spoils_no_finished_run(
    held: Held, running: MlflowServer, empty_database: Path, tmp_path: Path
) -> None:
    held.fault = "tracking: server gone between the last record and the leaderboard"
    before = Snapshot.take()
    with proxy_to(running.uri) as proxy:
        folder = swept(tmp_path / "sweep", empty_database, proxy.uri, "gone")
        proxy.answer = lambda method, path: "reset" if is_finished(folder) else "pass"
        with Driver(folder, "run", "gone.yaml") as driver:
            ended = driver.wait()
        with held("goes on"):
            assert ended == 0, driver.output
        with held("told"):
            *_, last = driver.output.splitlines()
            assert last.startswith("the result is not shown: ")
            assert "Traceback" not in driver.output
    hold_delivered(held, folder, running.uri)
    with held("leaks"):
        check_leaks(before, folder)


@pytest.mark.whole_matrix
def test_a_server_away_for_a_minute(
    held: Held, running: MlflowServer, empty_database: Path, tmp_path: Path
) -> None:
    held.fault = "tracking: server killed in mid-sweep and brought back after a minute"
    content = fault_sweep(tracking={"uri": running.uri})
    content["search"]["trials"] = 12
    expected = undisturbed(empty_database, {**content, "tracking": {"uri": "sqlite:///mlflow.db"}})
    folder = swept(tmp_path / "sweep", empty_database, running.uri, "minute")
    with Driver(folder, "run", "minute.yaml", "--set", "search.trials=12") as driver:
        driver.wait_until(lambda: '"run":"trial/digits/0","step":1' in logged(folder))
        running.kill()
        time.sleep(60)
        running.start()
        assert driver.wait() == 0, driver.output
    if "wait for the tracking server" in driver.output:  # the sweep ended before the minute
        mlfd_tune("tracking", "flush", cwd=folder)
    (folder / "minute.yaml").write_text(json.dumps(content))  # with the trials that were asked for
    hold_delivered(held, folder, running.uri)
    with held("best"):
        check_best(folder, expected, running.uri)


@pytest.mark.whole_matrix
def test_a_server_that_is_frozen_and_never_thaws_in_time(
    held: Held, running: MlflowServer, empty_database: Path, tmp_path: Path
) -> None:
    held.fault = "tracking: server frozen in mid-sweep, thawed after its end"
    folder = swept(tmp_path / "sweep", empty_database, running.uri, "frozen")
    with Driver(folder, "run", "frozen.yaml") as driver:
        driver.wait_until(lambda: '"run":"trial/digits/0","step":1' in logged(folder))
        running.send(signal.SIGSTOP)
        assert driver.wait() == 0, driver.output
    with held("told"):
        assert told(driver.output) > 0
        assert "Traceback" not in driver.output
    running.send(signal.SIGCONT)
    mlfd_tune("tracking", "flush", cwd=folder)
    hold_delivered(held, folder, running.uri)


@pytest.mark.whole_matrix
def test_a_driver_killed_while_the_server_is_away_is_resumed_when_it_is_back(
    held: Held, running: MlflowServer, empty_database: Path, tmp_path: Path
) -> None:
    held.fault = "tracking: server and driver killed, both brought back"
    expected = undisturbed(empty_database)
    folder = swept(tmp_path / "sweep", empty_database, running.uri, "both")
    with Driver(folder, "run", "both.yaml") as driver:
        driver.wait_until(lambda: '"run":"trial/digits/0","step":1' in logged(folder))
        running.kill()
        driver.wait_until(lambda: '"run":"trial/photos/0","step":1' in logged(folder))
        driver.kill_all()
    running.start()
    with Driver(folder, "run", "both.yaml", "--resume") as driver:
        assert driver.wait() == 0, driver.output
    hold_delivered(held, folder, running.uri)
    with held("best"):
        check_best(folder, expected, running.uri)


def test_the_password_of_a_server_is_not_written_to_disk(
    held: Held, running: MlflowServer, tmp_path: Path
) -> None:
    held.fault = "tracking: server with a login away, flushed to later"
    from mlfd_tune.tracking import Tracker

    login = running.uri.replace("//", "//me:topsecret@")
    absent = login.replace(str(running.port), "9")
    tracker = Tracker(absent, "login", tmp_path / "runs" / "login" / "1" / "tracking")
    tracker.start_run("t", "trial")
    assert not tracker.close(0.1)
    with held("leaks"):
        for path in tmp_path.rglob("*"):
            assert path.is_dir() or b"topsecret" not in path.read_bytes(), path
    with held("told"):
        asked = mlfd_tune("tracking", "flush", cwd=tmp_path, expect=2)
        (line,) = asked.stderr.splitlines()
        assert "--uri" in line
        assert "MLFLOW_TRACKING_URI" in line
        away = subprocess.run(
            command("tracking", "flush"),
            cwd=tmp_path,
            env={**os.environ, "MLFLOW_TRACKING_URI": absent},
            capture_output=True,
            text=True,
        )
        assert (away.returncode, away.stderr.count("\n")) == (2, 1), away.stderr
        assert "cannot be reached" in away.stderr
        assert "topsecret" not in away.stderr
        sent = mlfd_tune("tracking", "flush", "login", "--uri", login, cwd=tmp_path)
        assert "1 records sent" in sent.stdout
        assert "topsecret" not in sent.stdout + sent.stderr
