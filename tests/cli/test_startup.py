"""Asking for help, the version or a leaderboard does not import what trains."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

from mlfd_tune.cli import main
from mlfd_tune.tracking.client import open_client

HEAVY = ("torch", "timm", "ray", "optuna", "mlflow", "sklearn", "matplotlib", "pandas")

SCRIPT = """
import sys
from mlfd_tune.cli import main
try:
    main(sys.argv[1:])
except SystemExit as end:
    code = end.code
print("imported:", *(name for name in {heavy} if name in sys.modules))
sys.exit(code)
"""


def imported_by(*arguments: str, cwd: Path, expect: int = 0) -> tuple[set[str], str]:
    """Return which heavy packages a command imports, and what it prints."""
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT.format(heavy=HEAVY), *arguments],
        cwd=cwd,
        env={**os.environ, "OMP_NUM_THREADS": "1", "COLUMNS": "100"},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == expect, done.stdout + done.stderr
    printed, _, names = done.stdout.rpartition("imported:")
    return set(names.split()), printed + done.stderr


@pytest.fixture(scope="module")
def database(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tracking database with one experiment; making its tables takes seconds."""
    path = tmp_path_factory.mktemp("mlflow") / "mlflow.db"
    open_client(f"sqlite:///{path}").create_experiment("quickstart", "file:///nowhere")
    return path


@pytest.mark.parametrize(
    "arguments",
    [("--help",), ("--version",), ("run", "--help"), ("store", "--help"), ("leaderboard", "-h")],
    ids=" ".join,
)
def test_help_and_version_import_nothing_heavy(arguments: tuple[str, ...], tmp_path: Path) -> None:
    imported, printed = imported_by(*arguments, cwd=tmp_path)

    assert imported == set()
    assert "Usage: " in printed or "version" in printed


def test_a_mistyped_command_imports_nothing_heavy(tmp_path: Path) -> None:
    imported, printed = imported_by("rnu", cwd=tmp_path, expect=2)

    assert imported == set()
    assert "did you mean 'run'?" in printed


def test_a_leaderboard_imports_nothing_that_trains(tmp_path: Path, database: Path) -> None:
    shutil.copyfile(database, tmp_path / "mlflow.db")

    imported, printed = imported_by("leaderboard", "quickstrat", cwd=tmp_path, expect=2)

    assert not imported & {"torch", "timm", "ray", "optuna"}
    assert printed == (
        "error: experiment: unknown 'quickstrat' (allowed: quickstart; "
        "did you mean 'quickstart'?)\n"
    )


def test_an_unknown_experiment_cannot_be_exported(
    tmp_path: Path, database: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copyfile(database, tmp_path / "mlflow.db")
    monkeypatch.chdir(tmp_path)

    result = CliRunner().invoke(main, ["export", "quickstrat"])

    assert result.exit_code == 2
    assert result.output.startswith("error: experiment: unknown 'quickstrat' (allowed: quickstart")
    assert result.output.count("\n") == 1
    assert not (tmp_path / "exports").exists()
    assert not (tmp_path / ".mlfd").exists()
