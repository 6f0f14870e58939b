from __future__ import annotations

import os
import platform
import re
import subprocess
from importlib import metadata
from pathlib import Path

from mlfd_tune.tracking import vocabulary


def test_environment_tags_name_versions_and_hardware() -> None:
    tags = vocabulary.environment_tags()

    assert tags["mlfd.version.python"] == platform.python_version()
    for package in ("torch", "timm", "ray", "optuna", "mlflow"):
        assert tags[f"mlfd.version.{package}"] == metadata.version(package)
    assert tags["mlfd.hardware.cpus"] == str(os.cpu_count())


def test_the_commit_is_that_of_the_package_when_it_is_run_from_a_repository() -> None:
    commit = vocabulary.environment_tags().get("mlflow.source.git.commit")
    package = Path(vocabulary.__file__).resolve().parents[1]
    head = subprocess.run(
        ["git", "-C", str(package), "rev-parse", "--verify", "-q", "HEAD"],
        capture_output=True,
        text=True,
        check=False,
    ).stdout.strip()

    if commit is None:
        return  # not in a repository, or nothing committed
    assert re.fullmatch(rf"{head}(\+changes)?", commit)


def test_stage_tags_share_one_prefix() -> None:
    assert vocabulary.stage_tag("teacher.digits") == "mlfd.stage.teacher.digits"
