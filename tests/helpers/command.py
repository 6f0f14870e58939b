"""Running the real command in a process of its own, as a user does."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import yaml

ENVIRONMENT = {**os.environ, "OMP_NUM_THREADS": "1", "COLUMNS": "120"}


def command(*arguments: str | Path) -> list[str]:
    """Return the command line of `mlfd-tune` in this environment."""
    program = "import sys; from mlfd_tune.cli import main; sys.exit(main())"
    return [sys.executable, "-c", program, *map(str, arguments)]


def mlfd_tune(
    *arguments: str | Path, cwd: Path, expect: int = 0
) -> subprocess.CompletedProcess[str]:
    """Run `mlfd-tune` in `cwd` and check its exit code."""
    done = subprocess.run(
        command(*arguments), cwd=cwd, env=ENVIRONMENT, capture_output=True, text=True, timeout=900
    )
    assert done.returncode == expect, f"{done.stdout}\n{done.stderr}"
    return done


def write_yaml(path: Path, content: Any) -> Path:
    """Write an experiment file."""
    path.write_text(yaml.safe_dump(content, sort_keys=False))
    return path
