from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from mlfd_tune.tracking import open_client


@pytest.fixture(scope="session")
def empty_database(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A database whose tables exist: making them takes seconds, copying the file nothing."""
    path = tmp_path_factory.mktemp("mlflow") / "empty.db"
    open_client(f"sqlite:///{path}").search_experiments()
    return path


@pytest.fixture
def uri(empty_database: Path, tmp_path: Path) -> str:
    path = tmp_path / "mlflow.db"
    shutil.copyfile(empty_database, path)
    return f"sqlite:///{path}"
