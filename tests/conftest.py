"""For every test: helpers are importable, a database is soon made, what takes long is asked for."""

from __future__ import annotations

import shutil
import signal
import sys
from collections.abc import Iterable
from pathlib import Path

import pytest

PROJECT = str(Path(__file__).parents[1])

if PROJECT not in sys.path:
    sys.path.insert(0, PROJECT)


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--whole-matrix",
        action="store_true",
        help="try every fault and the full number of fuzzed cases, which takes an hour",
    )


def pytest_configure() -> None:
    # Shells have what runs in their background ignore Ctrl-C, and so would all that tests start.
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(config: pytest.Config, items: Iterable[pytest.Item]) -> None:
    # Without groups every worker would run the same sweeps for its share of the tests.
    if config.getoption("loadgroup", False):
        grouped = (item for item in items if item.get_closest_marker("xdist_group"))
        if any("@" not in item.nodeid for item in grouped):
            raise pytest.UsageError("this pytest and this xdist do not keep groups together")
    if config.getoption("--whole-matrix"):
        return
    left_out = pytest.mark.skip(reason="only with --whole-matrix")
    for item in items:
        if item.get_closest_marker("whole_matrix"):
            item.add_marker(left_out)


def pytest_sessionfinish() -> None:
    # Workers of xdist call no exit handlers.
    servers = sys.modules.get("tests.helpers.servers")
    if servers is not None:
        servers.stop_shared_server()


@pytest.fixture(scope="session")
def empty_database(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A database whose tables exist: making them takes seconds, copying the file nothing."""
    from mlfd_tune.tracking import open_client

    path = tmp_path_factory.mktemp("mlflow") / "empty.db"
    open_client(f"sqlite:///{path}").search_experiments()
    return path


@pytest.fixture
def uri(empty_database: Path, tmp_path: Path) -> str:
    path = tmp_path / "mlflow.db"
    shutil.copyfile(empty_database, path)
    return f"sqlite:///{path}"
