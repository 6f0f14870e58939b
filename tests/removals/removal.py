"""One mechanism, as `mechanisms.yaml` has it, and what its tests say when it is gone."""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import yaml

__all__ = ["PROJECT", "Outcome", "Removal", "copy_project", "read_removals"]

PROJECT = Path(__file__).parents[2]

Outcome = Literal["broke", "hung", "PASSED", "DID NOT RUN"]
"""What the tests did without the mechanism; the last two are findings."""

_LONGEST_S = 420.0
_NO_TEST_FAILED, _A_TEST_FAILED = 0, 1  # exit codes of pytest; others mean that none was run


@dataclass(frozen=True)
class Removal:
    """A mechanism that is to be taken away.

    Attributes:
        promise: What rests on it.
        mechanism: Its name.
        file: Where it is.
        text: What it consists of, which occurs there once.
        instead: What stands there without it.
        tests: Arguments of pytest: tests of which one breaks then.
    """

    promise: str
    mechanism: str
    file: str
    text: str
    instead: str
    tests: str

    def outcome(self, project: Path) -> Outcome:
        """Run the tests without the mechanism, and put it back.

        Args:
            project: A copy of the project, which is changed meanwhile.
        """
        file = project / self.file
        whole = file.read_text()
        file.write_text(whole.replace(self.text, self.instead))
        try:
            return _tried(self.tests, project)
        finally:
            file.write_text(whole)


def read_removals() -> list[Removal]:
    """Return all of them."""
    listed = yaml.safe_load((Path(__file__).parent / "mechanisms.yaml").read_text())
    return [Removal(promise, **one) for promise, found in listed.items() for one in found]


def copy_project(place: Path) -> None:
    """Copy what the tests need, so that the checkout is left alone."""
    for name in ("mlfd_tune", "tests", "benchmarks", "experiments", "search_spaces", "docs"):
        ignored = shutil.ignore_patterns("__pycache__", ".*")
        shutil.copytree(PROJECT / name, place / name, ignore=ignored)
    for file in ("pyproject.toml", "README.md", "SECURITY.md"):
        shutil.copy(PROJECT / file, place)


def _tried(tests: str, project: Path) -> Outcome:
    command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "-q", "-x"]
    command += ["--whole-matrix", *shlex.split(tests)]
    environment = {**os.environ, "PYTHONPATH": str(project), "PYTHONDONTWRITEBYTECODE": "1"}
    try:
        done = subprocess.run(
            command, cwd=project, env=environment, capture_output=True, timeout=_LONGEST_S
        )
    except subprocess.TimeoutExpired:
        return "hung"
    if done.returncode == _A_TEST_FAILED:
        return "broke"
    return "PASSED" if done.returncode == _NO_TEST_FAILED else "DID NOT RUN"
