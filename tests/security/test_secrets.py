"""A password in a URI is used to log in and stands in no file, no message and no command line."""

from __future__ import annotations

import base64
import json
import logging
import shutil
import subprocess
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
import yaml
from click.testing import CliRunner

from mlfd_tune.cli import main
from mlfd_tune.cli.terminal import LineFormatter
from mlfd_tune.config import load_experiment
from mlfd_tune.tracking import Tracker, reachable
from tests.helpers.command import ENVIRONMENT, command, write_yaml
from tests.helpers.faults.sweep import fault_sweep
from tests.helpers.servers import postgres

CANARY = "c4n4ryPassw0rd"
EXPERIMENT = "secretive"


def holding_canary(*folders: Path) -> list[str]:
    """Return the files below folders that have the password in any form it may be written in."""
    forms = [CANARY.encode(), base64.b64encode(f"me:{CANARY}".encode()), CANARY.encode("utf-16-le")]
    found = []
    for folder in folders:
        for path in folder.rglob("*"):
            if path.is_file() and not path.is_symlink():
                content = path.read_bytes()
                found += [f"{path}" for form in forms if form in content]
    return found


@contextmanager
def server(status: int) -> Iterator[tuple[str, list[str | None]]]:
    """Answer every request alike and note how it logs in; ``/health`` is always well."""
    seen: list[str | None] = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.rfile.read(int(self.headers.get("Content-Length", 0)))
            healthy = self.path.endswith("/health")
            body = b"OK" if healthy else b"no"
            seen.append(self.headers.get("Authorization"))
            self.send_response(200 if healthy else status)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def do_POST(self) -> None:
            self.do_GET()

        def log_message(self, format: str, *args: object) -> None:
            """Say nothing."""

    http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=http.serve_forever)
    thread.start()
    try:
        yield f"http://me:{CANARY}@127.0.0.1:{http.server_port}", seen
    finally:
        http.shutdown()
        thread.join()
        http.server_close()


@pytest.mark.parametrize("status", [401, 403, 404, 500])
def test_a_server_that_refuses_is_told_of_without_the_password(
    status: int, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with server(status) as (uri, seen):
        assert reachable(uri) is None
        with caplog.at_level(logging.INFO):
            tracker = Tracker(uri, "exp", tmp_path / "outbox", linger_s=0.01, first_retry_s=0.1)
            tracker.start_run("a", "a", tags={"x": "y"})
            tracker.log_text("a", "text", "file.txt")
            tracker.flush(3)
            tracker.close(0.1)

    assert base64.b64encode(f"me:{CANARY}".encode()).decode() in str(seen)
    assert "***@127.0.0.1" in caplog.text
    assert CANARY not in caplog.text
    assert holding_canary(tmp_path) == []


URIS = (
    f"http://me:{CANARY}@127.0.0.1:9",
    f"https://{CANARY}@127.0.0.1:9",
    f"http://127.0.0.1:9/?token={CANARY}",
    f"postgresql+psycopg2://me:{CANARY}@127.0.0.1:9/db",
    f"postgresql+psycopg2://127.0.0.1:9/db?password={CANARY}",
    f"postgresql+nodriver://me:{CANARY}@127.0.0.1:9/db",
    f"oracle://me:{CANARY}@host/db",
    f"postgresql:me:{CANARY}@host/db",
    f"http://me:{CANARY}@host:notaport",
    f"http://me:{CANARY}@",
    f"sqlite://me:{CANARY}@host/db",
)


COMMANDS = (
    ("leaderboard",),
    ("leaderboard", "diff", "a:b", "c:d"),
    ("doctor",),
    ("export", "exp"),
    ("register", "exp"),
    ("report", "exp"),
    ("table", "exp"),
    ("plot", "curves", "exp"),
    ("run", "exp.yaml", "--resume"),
)


@pytest.mark.parametrize(
    ("uri", "arguments"),
    [
        *((uri, ("run", "exp.yaml", "--dry-run")) for uri in URIS),
        *((URIS[0], arguments) for arguments in COMMANDS),
        *((URIS[3], arguments) for arguments in COMMANDS),
    ],
    ids=lambda value: str(value).replace(CANARY, "X"),
)
def test_no_command_tells_the_password(
    uri: str, arguments: tuple[str, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
    if "exp.yaml" in arguments:
        write_yaml(tmp_path / "exp.yaml", fault_sweep(tracking={"uri": uri}))

    result = CliRunner().invoke(main, list(arguments))

    assert CANARY not in result.output
    assert CANARY not in repr(result.exception)
    (tmp_path / "exp.yaml").unlink(missing_ok=True)
    assert holding_canary(tmp_path) == []


def test_a_server_is_not_served_again_and_its_password_not_told(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", URIS[0])

    result = CliRunner().invoke(main, ["ui"])

    assert result.exit_code == 2
    assert "http://***@127.0.0.1:9 is a server already" in result.stderr


def test_settings_on_the_command_line_are_quoted_without_the_password(tmp_path: Path) -> None:
    file = write_yaml(tmp_path / "exp.yaml", fault_sweep())
    uri = f"http://me:{CANARY}@host"

    for text in (f"tracking.uri {uri}", f"tracking.uri.deep={uri}", f"tracking.url={uri}"):
        result = CliRunner().invoke(main, ["run", str(file), "--set", text])
        assert result.exit_code == 2
        assert CANARY not in result.output


def test_what_is_kept_of_an_experiment_has_no_password(tmp_path: Path) -> None:
    uri, address = f"http://me:{CANARY}@host:5000", f"ray://me:{CANARY}@host:10001"
    content = fault_sweep(tracking={"uri": uri}, resources={"address": address})
    loaded = load_experiment(write_yaml(tmp_path / "exp.yaml", content))

    assert loaded.config.tracking.uri == uri
    assert CANARY not in json.dumps(loaded.kept)
    assert loaded.kept["tracking"] == {"uri": "http://host:5000"}
    assert loaded.kept["resources"] == {"address": "ray://host:10001"}
    assert {**loaded.kept, "tracking": 0, "resources": 0} == {
        **loaded.raw,
        "tracking": 0,
        "resources": 0,
    }


def test_log_lines_lose_passwords_and_control_characters() -> None:
    record = logging.LogRecord(
        "x", logging.WARNING, "", 0, "at %s\x1b[2J\nnext", (f"http://me:{CANARY}@h",), None
    )

    line = LineFormatter("%(levelname)s: %(message)s").format(record)

    assert line == "WARNING: at http://***@h\\x1b[2J\\nnext"


def call(folder: Path, *arguments: str, **environment: str) -> str:
    """Call the real command and return all that it prints."""
    done = subprocess.run(
        command(*arguments),
        cwd=folder,
        env=ENVIRONMENT | environment,
        capture_output=True,
        text=True,
        timeout=600,
    )
    printed = done.stdout + done.stderr
    assert done.returncode == 0, printed.replace(CANARY, "<the password>")
    return printed


def dumped(uri: str) -> bytes:
    """Return all that a PostgreSQL database holds, as text."""
    from sqlalchemy import create_engine, inspect, text

    engine = create_engine(uri)
    with engine.connect() as connection:
        rows = [
            str(connection.execute(text(f'SELECT * FROM "{table}"')).fetchall())
            for table in inspect(engine).get_table_names()
        ]
    engine.dispose()
    assert any("sweep" in row for row in rows)
    return "\n".join(rows).encode()


@pytest.mark.slow
def test_a_whole_sweep_leaves_the_password_nowhere(tmp_path: Path) -> None:
    """Run, resume, look at and export a sweep whose database asks for a password."""
    content: dict[str, Any] = fault_sweep()
    content["datasets"] = {"digits": content["datasets"]["digits"]}
    content.pop("teachers")
    content["search"]["trials"] = 1
    ray = Path(tempfile.mkdtemp(prefix="mlfd-ray-", dir="/tmp"))
    shared = Path("/dev/shm")
    before = set(shared.iterdir())
    with postgres() as database:
        plain = database.create("secret")
        uri = plain.replace("postgres@", f"postgres:{CANARY}@")
        elsewhere = tmp_path.parent / f"{tmp_path.name}-yaml"  # the file that may hold it
        elsewhere.mkdir()
        file = write_yaml(elsewhere / f"{EXPERIMENT}.yaml", content | {"tracking": {"uri": uri}})
        try:
            printed = call(tmp_path, "run", str(file), RAY_TMPDIR=str(ray), TMPDIR=str(ray))
            given = {"MLFLOW_TRACKING_URI": uri}
            for arguments in (
                ("leaderboard", EXPERIMENT),
                ("doctor",),
                ("export", EXPERIMENT, "--format", "yaml,json,safetensors,card"),
                ("report", EXPERIMENT, "-o", "report.html"),
                ("register", EXPERIMENT),
                ("table", EXPERIMENT),
            ):
                printed += call(tmp_path, *arguments, **given)
            new = [path for path in set(shared.iterdir()) - before if path.is_dir()]
            held = holding_canary(tmp_path, ray, *new)
            kept = dumped(plain)
        finally:
            shutil.rmtree(ray, ignore_errors=True)

    assert CANARY not in printed
    assert held == []
    assert CANARY.encode() not in kept
    exported = yaml.safe_load((tmp_path / "exports" / "digits.yaml").read_text())
    assert exported["tracking"]["uri"] == plain
    assert exported["provenance"]["tracking_uri"] == plain
    assert "postgres@127.0.0.1" in (tmp_path / "exports" / "digits.yaml").read_text()
    states = list((tmp_path / "runs").rglob("state.json"))
    assert states
    assert [json.loads(state.read_text())["raw"]["tracking"]["uri"] for state in states] == [plain]
