"""The overhead benchmark runs, and its line is what the numbers say."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks.overhead import Swept, Work, milliseconds

ROOT = Path(__file__).resolve().parents[2]


def test_the_line_finds_what_trials_and_epochs_cost() -> None:
    works = []
    for worker in (1, 2):
        start = 0.0
        for epochs in (1, 7, 3, 20, 2):
            trained = 0.25 * epochs
            works.append(Work(worker, start, start + trained, epochs, trained))
            start += trained + 0.1 + 0.004 * epochs

    assert milliseconds(works) == pytest.approx((100.0, 4.0))


def test_overhead_is_what_is_not_training() -> None:
    works = (Work(1, 2.0, 9.0, 5, 6.0), Work(2, 3.0, 10.0, 5, 6.0))
    swept = Swept(wall=20.0, works=works)

    assert swept.searching == 8.0
    assert swept.overhead(2, swept.searching).median == pytest.approx(25.0)
    assert swept.overhead(2, swept.wall).median == pytest.approx(70.0)


@pytest.mark.slow
def test_the_benchmark_runs() -> None:
    # In a process of its own: it counts all children.
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks", "overhead", "--quick"],
        cwd=ROOT,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=600,
    )
    assert done.returncode == 0, done.stderr
    assert "| short | 7 |" in done.stdout
    assert "per reported epoch" in done.stdout
