from __future__ import annotations

import http.server
import os
import threading
import time
from pathlib import Path

import pytest

from mlfd_tune.core.errors import UserError
from mlfd_tune.tracking.client import absolute_uri, check_uri, reachable, shown_uri


@pytest.mark.parametrize(
    "uri",
    [
        "sqlite:///mlflow.db",
        "sqlite:////tmp/nowhere yet/mlflow.db",
        "http://localhost:5000",
        "https://user:secret@mlflow.example.org/path",
    ],
)
def test_databases_and_servers_are_accepted(uri: str) -> None:
    check_uri(uri)


@pytest.mark.parametrize(
    ("uri", "part"),
    [
        ("", "is a folder"),
        ("./mlruns", "is a folder"),
        ("file:///tmp/mlruns", "is a folder"),
        ("sqlite://", "names no database file"),
        ("sqlite:///", "names no database file"),
        ("sqlite://mlflow.db", "names no database file"),
        ("sqlite:///:memory:", "names no database file"),
        ("htp://localhost:5000", "did you mean 'http'"),
        ("ftp://localhost", "unknown scheme 'ftp'"),
        ("http://", "names no host"),
        ("http://localhost:port", "is malformed"),
        ("postgresql+nosuchdriver://host/db", "unknown driver"),
        ("postgresql+pg8000://user:secret@host/db", "needs the Python package 'pg8000'"),
    ],
)
def test_what_mlflow_could_not_use_is_refused_in_one_line(uri: str, part: str) -> None:
    with pytest.raises(UserError) as caught:
        check_uri(uri)
    message = str(caught.value)
    assert message.startswith("tracking uri: ")
    assert part in message
    assert "\n" not in message
    assert "secret" not in message


def test_a_folder_or_another_file_is_no_database(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="is a folder"):
        check_uri(f"sqlite:///{tmp_path}")
    (tmp_path / "notes.txt").write_text("not a database at all")
    with pytest.raises(UserError, match="is not a SQLite database"):
        check_uri(f"sqlite:///{tmp_path}/notes.txt")


def test_relative_paths_become_absolute_and_other_uris_stay(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert absolute_uri("sqlite:///mlflow.db") == f"sqlite:///{tmp_path}/mlflow.db"
    assert absolute_uri("http://localhost:5000") == "http://localhost:5000"


def test_passwords_are_not_shown() -> None:
    assert shown_uri("postgresql://me:secret@host/db") == "postgresql://me:***@host/db"


def test_a_database_that_can_be_made_is_reachable_and_stays_unmade(tmp_path: Path) -> None:
    assert reachable(f"sqlite:///{tmp_path}/new/mlflow.db") is None
    assert list(tmp_path.iterdir()) == []


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_database_in_a_read_only_folder_is_not_reachable(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    assert "cannot be written" in (reachable(f"sqlite:///{tmp_path}/mlflow.db") or "")


def test_an_absent_server_is_told_quickly() -> None:
    begin = time.monotonic()
    assert "refused" in (reachable("http://127.0.0.1:9", timeout_s=2) or "")
    assert "refused" in (reachable("postgresql://127.0.0.1:9/db", timeout_s=2) or "")
    assert time.monotonic() - begin < 3


def test_a_server_that_is_not_mlflow_is_told() -> None:
    class Other(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.end_headers()
            self.wfile.write(b"<html>welcome</html>")

        def log_message(self, *args: object) -> None:
            pass

    with http.server.HTTPServer(("127.0.0.1", 0), Other) as server:
        threading.Thread(target=server.handle_request, daemon=True).start()
        reason = reachable(f"http://127.0.0.1:{server.server_port}")
    assert reason is not None
    assert "not as MLflow does" in reason
