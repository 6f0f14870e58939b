"""What a benchmark counts as a program's cost."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

BURN = "import time\nwhile time.process_time() < 1: pass"
ORPHAN = f"""
import signal, subprocess, sys
signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # as Ray's node daemon does
child = subprocess.Popen([sys.executable, "-c", {BURN!r}], start_new_session=True)
child.wait()
"""
MEASURE = """
import sys
from pathlib import Path
from benchmarks.processes import cost_of
print(cost_of([sys.executable, "-c", sys.argv[1]], Path(sys.argv[2])).cpu)
"""


def test_the_cpu_time_of_children_that_nobody_waits_for_is_counted(tmp_path: Path) -> None:
    root = Path(__file__).parents[2]
    done = subprocess.run(  # a process of its own: this one may have other children
        [sys.executable, "-c", MEASURE, ORPHAN, str(tmp_path / "log")],
        cwd=root,
        capture_output=True,
        text=True,
        check=True,
    )
    assert 0.6 < float(done.stdout) < 3  # the last moments of a process may be missed


def test_a_program_that_fails_says_why(tmp_path: Path) -> None:
    root = Path(__file__).parents[2]
    done = subprocess.run(
        [sys.executable, "-c", MEASURE, "raise SystemExit('no such thing')", str(tmp_path / "log")],
        cwd=root,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1
    assert "no such thing" in done.stderr
