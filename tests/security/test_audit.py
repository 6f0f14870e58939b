"""The audit of installed packages fails on a known hole, and on nothing else."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

AUDIT = Path(__file__).parents[2] / ".ci" / "audit"
KNOWN = '{"name": "a", "version": "1", "vulns": []}'
HOLE = '{"name": "b", "version": "2", "vulns": [{"id": "PYSEC-1", "fix_versions": ["3"]}]}'
SKIPPED = '{"name": "c", "skip_reason": "not found"}'


@pytest.mark.parametrize(
    ("answer", "code", "told"),
    [
        (f'{{"dependencies": [{KNOWN}, {SKIPPED}]}}', 0, "0 holes in 1 packages, 1 not known"),
        (f'{{"dependencies": [{KNOWN}, {HOLE}]}}', 1, "b 2: PYSEC-1, mended in 3"),
        (f'{{"dependencies": [{SKIPPED}]}}', 0, "not asked: the package index"),
        ("", 0, "not asked: no answer"),
    ],
    ids=["in order", "a hole", "an index that does not know", "no index"],
)
def test_only_a_known_hole_fails(answer: str, code: int, told: str, tmp_path: Path) -> None:
    (tmp_path / "pip_audit.py").write_text(f"print({answer!r})")  # in place of the one that asks

    done = subprocess.run(
        [sys.executable, str(AUDIT)],
        env={**os.environ, "PYTHONPATH": str(tmp_path)},
        capture_output=True,
        text=True,
    )

    assert done.returncode == code, done.stderr
    assert told in done.stdout
