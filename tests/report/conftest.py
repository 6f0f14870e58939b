from __future__ import annotations

import shutil
from collections.abc import Callable, Iterable
from pathlib import Path

import pytest
from matplotlib.figure import Figure
from matplotlib.text import Text

from mlfd_tune.tracking.client import open_client

Texts = Callable[[Figure], list[str]]


@pytest.fixture(scope="session")
def empty_report_database(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A database whose tables exist: making them takes seconds, copying the file nothing."""
    path = tmp_path_factory.mktemp("mlflow") / "empty.db"
    open_client(f"sqlite:///{path}").search_experiments()
    return path


@pytest.fixture(scope="module")
def report_uri(empty_report_database: Path, tmp_path_factory: pytest.TempPathFactory) -> str:
    path = tmp_path_factory.mktemp("report") / "mlflow.db"
    shutil.copyfile(empty_report_database, path)
    return f"sqlite:///{path}"


@pytest.fixture
def texts() -> Texts:
    """Return everything that can be read in a figure."""

    def read(figure: Figure) -> list[str]:
        found: Iterable[Text] = figure.findobj(Text)  # type: ignore[assignment]
        return [text.get_text() for text in found if text.get_text() and text.get_visible()]

    return read
