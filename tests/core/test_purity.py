"""The core is plain PyTorch: it runs where ray, mlflow and optuna are not installed."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

PROJECT = Path(__file__).parents[2]
IMPORT_ALL = """
import importlib, pkgutil, sys

class Absent:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {"ray", "mlflow", "optuna"}:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)

sys.meta_path.insert(0, Absent())
for absent in ("ray", "mlflow", "optuna"):
    try:
        importlib.import_module(absent)
    except ModuleNotFoundError:
        continue
    sys.exit(f"{absent} can be imported: this test tests nothing")
import mlfd_tune.core
names = [m.name for m in pkgutil.walk_packages(mlfd_tune.core.__path__, "mlfd_tune.core.")]
for name in names:
    importlib.import_module(name)
print(len(names), "mlfd_tune.core.pipeline" in names)
"""
LOADED = """
import sys, mlfd_tune.core, mlfd_tune.core.pipeline
print(sorted({name.partition(".")[0] for name in sys.modules} & {"ray", "mlflow", "optuna"}))
"""


def python(*arguments: str) -> str:
    done = subprocess.run(
        [sys.executable, *arguments], cwd=PROJECT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_every_module_of_the_core_imports_without_ray_mlflow_and_optuna():
    count, has_pipeline = python("-c", IMPORT_ALL).split()
    assert int(count) > 40
    assert has_pipeline == "True"


def test_the_core_does_not_load_them_where_they_are():
    assert python("-c", LOADED).strip() == "[]"


def test_imports_point_one_way():
    command = Path(sys.executable).with_name("lint-imports")
    if not command.exists():
        pytest.skip("import-linter is not installed")
    done = subprocess.run(
        [command, "--no-cache"], cwd=PROJECT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "0 broken" in done.stdout
