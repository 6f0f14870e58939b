"""The way to an MLflow server or database: what URIs are allowed, quiet clients, quick probes.

MLflow is imported inside the functions: its import takes seconds, and only the thread that sends
and the commands that read should pay for it.
"""

from __future__ import annotations

import http.client
import logging
import os
import socket
import urllib.error
import urllib.request
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING

from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import ArgumentError, NoSuchModuleError

from mlfd_tune.core.errors import UserError, nearest
from mlfd_tune.core.uris import basic_login, shown_uri

if TYPE_CHECKING:
    from mlflow import MlflowClient

__all__ = [
    "absolute_uri",
    "check_uri",
    "forget_database",
    "open_client",
    "reachable",
    "shown_uri",
    "sqlite_path",
]

_DATABASES = ("sqlite", "postgresql", "mysql", "mssql")
_SERVERS = ("http", "https")
_DEFAULT_PORTS = {"postgresql": 5432, "mysql": 3306, "mssql": 1433}
_ALLOWED = (
    "allowed: sqlite:///mlflow.db, http(s)://host:port, postgresql://..., mysql://..., mssql://..."
)

# Defaults of MLflow's own settings: the user's environment has the last word. Stock MLflow tries
# a dead server for minutes, prints addresses of runs and reports usage to its makers.
_SETTINGS = {
    "MLFLOW_HTTP_REQUEST_BACKOFF_FACTOR": "1",
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "20",
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
    "PGCONNECT_TIMEOUT": "20",
}

_RETRIES = "MLFLOW_HTTP_REQUEST_MAX_RETRIES"

# A connection stays at the file it was opened on, and MLflow keeps its connections per URI for as
# long as the process lives. So each time a file was replaced, its path is spelled in another way.
_replaced: Counter[Path] = Counter()

# What PostgreSQL answers at once and in one letter: whether it speaks TLS.
_ASK_FOR_TLS = b"\x00\x00\x00\x08\x04\xd2\x16\x2f"


def check_uri(uri: str) -> None:
    """Refuse a tracking URI that MLflow could not use, before any work is done.

    Raises:
        UserError: For a plain folder, an unknown scheme, a missing host or file, a database whose
            Python driver is not installed, or a file that is not a SQLite database.
    """
    scheme, separator, _ = uri.partition("://")
    if not separator or scheme == "file":
        raise UserError(
            f"tracking uri: {shown_uri(uri)!r} is a folder, not a tracking database or server "
            f"({_ALLOWED})"
        )
    try:
        url = make_url(uri)
        port_and_host = (url.host, url.port)
    except (ArgumentError, ValueError) as error:
        raise UserError(f"tracking uri: {shown_uri(uri)!r} is malformed ({_ALLOWED})") from error
    kind = url.get_backend_name()
    if kind not in _DATABASES + _SERVERS:
        match = nearest(kind, _DATABASES + _SERVERS)
        hint = f"; did you mean {match!r}?" if match else ""
        raise UserError(
            f"tracking uri: unknown scheme {kind!r} in {shown_uri(uri)!r} ({_ALLOWED}{hint})"
        )
    if kind == "sqlite":
        _check_sqlite(uri, url)
    elif not port_and_host[0]:
        raise UserError(f"tracking uri: {shown_uri(uri)!r} names no host ({_ALLOWED})")
    elif kind in _DATABASES:
        _check_driver(uri, url)


def absolute_uri(uri: str) -> str:
    """Return `uri` with a relative SQLite path made absolute, so that it survives a ``chdir``."""
    path = sqlite_path(uri)
    return f"sqlite:///{path}" if path else uri


def sqlite_path(uri: str) -> Path | None:
    """Return the absolute path of a SQLite URI's file, or None for any other URI."""
    if not uri.startswith("sqlite"):
        return None
    database = make_url(uri).database
    return Path(database).expanduser().resolve() if database else None


def open_client(uri: str, *, writes: bool = False) -> MlflowClient:
    """Return an MLflow client that neither chatters nor hangs on a dead server for minutes.

    Sets defaults of MLflow's environment variables in this process and the levels of its loggers.
    The first use of a new SQLite file creates its tables, which takes several seconds.

    Args:
        uri: An URI that passed `check_uri`.
        writes: Whether runs are made with it. Who writes repeats by himself what a server did not
            answer, since he must know what may be there twice: from then on MLflow repeats
            nothing in this process. Else it repeats a request once.
    """
    if writes:
        os.environ[_RETRIES] = "0"
    else:
        os.environ.setdefault(_RETRIES, "1")
    for name, value in _SETTINGS.items():
        os.environ.setdefault(name, value)
    path = sqlite_path(uri)
    if path:
        path.parent.mkdir(parents=True, exist_ok=True)
    from mlflow import MlflowClient

    # "Creating initial tables", hundreds of "Running upgrade", and a traceback per failed query:
    # failures reach us as exceptions anyway.
    for name in ("alembic", "mlflow", "urllib3.connectionpool"):
        logging.getLogger(name).setLevel(logging.ERROR)
    logging.getLogger("mlflow.store.db.utils").setLevel(logging.CRITICAL)
    if path and _replaced[path]:
        spelled = "/".join([str(path.parent), *["."] * _replaced[path], path.name])
        return MlflowClient(tracking_uri=f"sqlite:///{spelled}")
    return MlflowClient(tracking_uri=absolute_uri(uri))


def forget_database(uri: str) -> None:
    """Have the next client of a SQLite file open it anew, since it was deleted or replaced."""
    path = sqlite_path(uri)
    if path:
        _replaced[path] += 1


def reachable(uri: str, timeout_s: float = 3.0) -> str | None:
    """Probe a tracking URI without importing MLflow and without changing anything.

    Args:
        uri: An URI that passed `check_uri`.
        timeout_s: Longest wait in seconds for a server's answer.

    Returns:
        None when it can be used, else the reason why not in one line.
    """
    path = sqlite_path(uri)
    if path:
        return _unusable_path(path)
    url = make_url(uri)
    kind = url.get_backend_name()
    if kind in _SERVERS:
        return _unhealthy_server(uri, timeout_s)
    try:
        port = url.port or _DEFAULT_PORTS[kind]
        with socket.create_connection((url.host or "localhost", port), timeout_s) as connection:
            if kind == "postgresql":  # one that hangs accepts connections all the same
                connection.sendall(_ASK_FOR_TLS)
                if connection.recv(1) not in (b"S", b"N"):
                    return f"{shown_uri(uri)} answers, but not as PostgreSQL does"
    except OSError as error:
        return f"{shown_uri(uri)}: {error}"
    return None


def _check_sqlite(uri: str, url: URL) -> None:
    if not url.database or url.database == ":memory:" or url.host:
        raise UserError(
            f"tracking uri: {shown_uri(uri)!r} names no database file (allowed: "
            "sqlite:///relative/mlflow.db or sqlite:////absolute/mlflow.db)"
        )
    path = sqlite_path(uri)
    assert path is not None
    if path.is_dir():
        raise UserError(
            f"tracking uri: {shown_uri(uri)!r} is a folder (allowed: a file, such as "
            f"{shown_uri(uri).rstrip('/')}/mlflow.db)"
        )
    if path.is_file() and path.stat().st_size:
        with path.open("rb") as file:
            if file.read(15) != b"SQLite format 3":
                raise UserError(f"tracking uri: {path} is not a SQLite database")


def _check_driver(uri: str, url: URL) -> None:
    try:
        url.get_dialect().import_dbapi()
    except NoSuchModuleError as error:
        raise UserError(
            f"tracking uri: unknown driver in {shown_uri(uri)!r} ({_ALLOWED})"
        ) from error
    except ImportError as error:
        raise UserError(
            f"tracking uri: {shown_uri(uri)!r} needs the Python package {error.name!r}, "
            "which is not installed"
        ) from error


def _unusable_path(path: Path) -> str | None:
    existing = path if path.exists() else path.parent
    while not existing.exists():
        existing = existing.parent
    if not os.access(existing, os.W_OK):
        return f"{existing} cannot be written"
    return None


def _unhealthy_server(uri: str, timeout_s: float) -> str | None:
    address, login = basic_login(uri)
    try:
        # Of the schemes that urllib opens, `check_uri` lets http and https pass.
        request = urllib.request.Request(f"{address.rstrip('/')}/health", headers=login)
        with urllib.request.urlopen(request, timeout=timeout_s) as answer:  # nosec B310
            text = answer.read(100).decode(errors="replace")
    except urllib.error.HTTPError as error:
        return f"{shown_uri(uri)}/health answers {error.code} {error.reason}: is it MLflow?"
    except (OSError, ValueError, http.client.HTTPException) as error:
        return f"{shown_uri(uri)}: {getattr(error, 'reason', None) or type(error).__name__}"
    return None if text.strip() == "OK" else f"{shown_uri(uri)} answers, but not as MLflow does"
