"""The growth benchmark: what it fits, and that sweeps compute as many stages as they should."""

from __future__ import annotations

import subprocess
import sys

import pytest

from benchmarks.growth import exponent, slope


@pytest.mark.parametrize("power", [0.0, 1.0, 2.0])
def test_the_exponent_of_a_power_law_is_its_power(power: float) -> None:
    sizes = [2.0, 4.0, 8.0, 16.0]

    assert exponent(sizes, [3.0 * size**power for size in sizes]) == pytest.approx(power)


def test_the_slope_is_what_one_more_adds_whatever_the_start_costs() -> None:
    assert slope([8.0, 16.0, 32.0], [20.0 + 1.5 * size for size in (8, 16, 32)]) == (
        pytest.approx(1.5)
    )


@pytest.mark.slow
def test_a_sweep_computes_a_teacher_per_dataset_and_features_per_pair() -> None:
    # In a process of its own: what it starts is counted as all of its process's children.
    command = [sys.executable, "-m", "benchmarks", "growth", "--quick"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=900)

    assert done.returncode == 0, done.stderr  # the numbers of stages are checked inside
    assert "| 1 | 2 |" in done.stdout
    assert "| 2 | 1 |" in done.stdout
