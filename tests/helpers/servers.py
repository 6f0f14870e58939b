"""Real servers for tests: PostgreSQL, and ``mlflow server`` on top of it, over loopback.

Both can be killed, frozen and started again on the same data, and are always stopped in the end.
"""

from __future__ import annotations

import contextlib
import os
import pwd
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from mlfd_tune.tracking import reachable

__all__ = [
    "MlflowServer",
    "Postgres",
    "free_port",
    "mlflow_server",
    "postgres",
    "postgres_missing",
    "shared_server",
    "stop_shared_server",
]

_DEBIAN = Path("/usr/lib/postgresql")
_STARTING_S = 180.0
_shared: list[MlflowServer] = []
_shared_runs = contextlib.ExitStack()


def free_port() -> int:
    """Return a loopback port that nobody listens on."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port: int = free.getsockname()[1]
        return port


class MlflowServer:
    """A real ``mlflow server``; artifacts go through it to a folder.

    Args:
        folder: Its log, and the artifacts it serves.
        backend: URI of the database behind it.

    Attributes:
        uri: Where it listens, also while it is away.
    """

    def __init__(self, folder: Path, backend: str) -> None:
        self.port = free_port()
        self.uri = f"http://127.0.0.1:{self.port}"
        self.folder = folder
        self.backend = backend
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start it and wait until it answers."""
        assert self.process is None, "it runs already"
        command = [sys.executable, "-m", "mlflow", "server", "--host", "127.0.0.1"]
        command += ["--port", str(self.port), "--workers", "1"]
        command += ["--backend-store-uri", self.backend, "--serve-artifacts"]
        command += ["--artifacts-destination", str(self.folder / "served")]
        log = self.folder / "server.log"
        with log.open("ab") as output:
            self.process = subprocess.Popen(
                command,
                cwd=self.folder,
                env={**os.environ, "MLFLOW_DISABLE_TELEMETRY": "true"},
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        end = time.monotonic() + _STARTING_S
        while time.monotonic() < end:
            assert self.process.poll() is None, log.read_text()
            if reachable(self.uri) is None:
                return
            time.sleep(0.1)
        raise TimeoutError(f"mlflow server did not start: {log.read_text()}")

    def kill(self) -> None:
        """End it at once, if it runs."""
        if self.process is None:
            return
        self.send(signal.SIGKILL)
        self.process.wait()
        self.process = None

    def send(self, number: signal.Signals) -> None:
        """Send a signal to all of its processes."""
        assert self.process is not None
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, number)  # a session of its own, made above


@contextlib.contextmanager
def mlflow_server(folder: Path, backend: str) -> Iterator[MlflowServer]:
    """Run a server in the block. It may be killed and started again there.

    Args:
        folder: An existing folder for its log and artifacts.
        backend: URI of the database behind it.
    """
    server = MlflowServer(folder, backend)
    try:
        server.start()
        yield server
    finally:
        server.kill()


class Postgres:
    """A PostgreSQL server with its own data folder, of whatever version Debian has installed.

    Args:
        folder: An existing folder that the user who runs it may enter.
    """

    def __init__(self, folder: Path) -> None:
        self._programs = _programs()
        assert self._programs is not None
        self._user = _ordinary_user() if os.geteuid() == 0 else None  # it refuses to run as root
        self._folder = folder / "data"
        self._socket = folder
        self.port = free_port()
        if self._user:
            shutil.chown(folder, self._user)
        self._run("initdb", "-D", self._folder, "-U", "postgres", "-A", "trust", "-N", "-E", "UTF8")

    def start(self) -> None:
        """Start it and wait until it accepts connections."""
        options = f"-F -p {self.port} -c listen_addresses=127.0.0.1 -k {self._socket}"
        log = self._socket / "postgres.log"
        self._run("pg_ctl", "-D", self._folder, "-l", log, "-w", "-o", options, "start")

    def stop(self) -> None:
        """End it at once, if it runs, as a crash would."""
        if (self._folder / "postmaster.pid").exists():
            self._run("pg_ctl", "-D", self._folder, "-m", "immediate", "-w", "stop")

    def send(self, number: signal.Signals) -> None:
        """Send a signal to the server and the processes of its connections."""
        leader = int((self._folder / "postmaster.pid").read_text().split("\n", 1)[0])
        os.killpg(leader, number)  # pg_ctl gives it a session of its own

    def create(self, name: str) -> str:
        """Create an empty database and return its URI."""
        self._sql(f'CREATE DATABASE "{name}"')
        return self.database(name)

    def copy(self, source: str, name: str) -> str:
        """Create a copy of a database that nobody is connected to, and return its URI."""
        self._sql(f'CREATE DATABASE "{name}" TEMPLATE "{source}"')
        return self.database(name)

    def set_read_only(self, name: str, read_only: bool) -> None:
        """Let a database take no writes, as the standby after a failover, or let it again."""
        state = "on" if read_only else "off"
        self._sql(f'ALTER DATABASE "{name}" SET default_transaction_read_only = {state}')
        others = "FROM pg_stat_activity WHERE pid <> pg_backend_pid() AND datname"
        self._sql(f"SELECT pg_terminate_backend(pid) {others} = '{name}'")

    def database(self, name: str) -> str:
        """Return the URI of a database."""
        return f"postgresql+psycopg2://postgres@127.0.0.1:{self.port}/{name}"

    def _sql(self, statement: str) -> None:
        import psycopg2

        connection = psycopg2.connect(self.database("postgres").replace("+psycopg2", ""))
        connection.autocommit = True
        try:
            with connection.cursor() as cursor:
                cursor.execute(statement)
        finally:
            connection.close()

    def _run(self, program: str, *arguments: str | Path) -> None:
        assert self._programs is not None
        done = subprocess.run(
            [self._programs / program, *map(str, arguments)],
            user=self._user,
            cwd="/",
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,  # the server would keep a pipe open
            stderr=subprocess.DEVNULL,
        )
        assert done.returncode == 0, f"{program} {arguments} ended with {done.returncode}"


@contextlib.contextmanager
def postgres() -> Iterator[Postgres]:
    """Run PostgreSQL in the block; the test is skipped where it is not installed."""
    missing = postgres_missing()
    if missing:
        pytest.skip(missing)
    # Not below pytest's own folder, which only its owner may enter.
    folder = Path(tempfile.mkdtemp(prefix="mlfd-postgres-"))
    try:
        server = Postgres(folder)
        try:
            server.start()
            yield server
        finally:
            server.stop()
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def shared_server() -> MlflowServer:
    """Return a running server on PostgreSQL that lives as long as the tests, or skip the test.

    Starting both takes some 20 s. Tests use experiments of their own, and leave it running; it is
    stopped by `stop_shared_server` when all tests are over.
    """
    if not _shared:
        database = _shared_runs.enter_context(postgres()).create("shared")
        folder = Path(tempfile.mkdtemp(prefix="mlfd-server-"))
        _shared_runs.callback(shutil.rmtree, folder, ignore_errors=True)
        _shared.append(_shared_runs.enter_context(mlflow_server(folder, database)))
    (server,) = _shared
    return server


def stop_shared_server() -> None:
    """Stop the server that `shared_server` has started, if it has."""
    _shared.clear()
    _shared_runs.close()


def postgres_missing() -> str | None:
    """Return what PostgreSQL lacks here, or None where tests can start it."""
    if _programs() is None:
        return "needs PostgreSQL's initdb and pg_ctl (Debian: apt-get install postgresql)"
    if os.geteuid() == 0 and _ordinary_user() is None:
        return "needs a user postgres or nobody, since PostgreSQL refuses to run as root"
    try:
        import psycopg2  # noqa: F401
    except ImportError:
        return "needs the Python package psycopg2"
    return None


def _ordinary_user() -> str | None:
    """Return a user other than root whom this machine knows, or None where it knows none."""
    for name in ("postgres", "nobody"):
        with contextlib.suppress(KeyError):
            return pwd.getpwnam(name).pw_name
    return None


def _programs() -> Path | None:
    """Return the folder of the newest PostgreSQL's programs, or None where there is none."""
    on_path = shutil.which("initdb")
    if on_path:
        return Path(on_path).resolve().parent
    versions = sorted(_DEBIAN.glob("*/bin/initdb"), key=lambda path: int(path.parts[-3]))
    return versions[-1].parent if versions else None
