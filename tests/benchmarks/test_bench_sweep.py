"""The sweep benchmark: the same trials give the same numbers, whoever runs them."""

from __future__ import annotations

import json
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

from benchmarks.contenders.experiment import draw_points, write_experiment
from benchmarks.contenders.history import History, compare
from benchmarks.sweep import FULL, SPACE
from mlfd_tune.config import SweepConfig, load_experiment


def history(**values: float) -> History:
    accuracy = {("digits", int(name[1:]), 1): value for name, value in values.items()}
    return History(accuracy, Counter())


def test_trials_are_drawn_the_same_every_time() -> None:
    points = draw_points(SPACE, 8, seed=0)

    assert points == draw_points(SPACE, 8, seed=0)
    assert points != draw_points(SPACE, 8, seed=1)


def test_the_full_sweep_asks_for_exactly_the_drawn_points(tmp_path: Path) -> None:
    points = draw_points(SPACE, FULL.trials, seed=0)

    path = write_experiment(tmp_path / "sweep.yaml", FULL.experiment, SPACE, points)

    config = load_experiment(path).config
    assert isinstance(config, SweepConfig)
    assert config.search.trials == 32
    assert len(config.target_names) == 3
    assert all(list(config.search.points_of(name)) == points for name in config.target_names)
    assert config.joint_teacher.train.epochs == config.student.train.epochs * 3 // 2
    assert config.confirm.top_k == 0


def test_epochs_that_contenders_share_are_counted_over_all_pairs() -> None:
    shared = {"one": history(p0=50.0, p1=60.0), "two": history(p0=50.0), "three": history(p0=50.0)}

    assert compare(shared) == 3


def test_a_difference_in_the_last_bit_is_found() -> None:
    with pytest.raises(ValueError, match="1 of 2 epochs differ between one and two"):
        compare({"one": history(p0=50.0, p1=0.3), "two": history(p0=50.0, p1=0.1 + 0.2)})


def test_what_was_trained_by_hand_is_read_epoch_by_epoch(tmp_path: Path) -> None:
    rows = [
        {"dataset": "digits", "point": 4, "epoch": epoch, "val/acc1": 10.0 * epoch, "stages": made}
        for epoch, made in ((1, {"teacher": 3}), (2, {}))
    ]
    path = tmp_path / "naive.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))

    found = History.read(path)

    assert found.accuracy == {("digits", 4, 1): 10.0, ("digits", 4, 2): 20.0}
    assert found.stages == {"teacher": 3}
    assert found.epochs == 2


@pytest.mark.slow
def test_all_contenders_get_bit_equal_results() -> None:
    # In a process of its own: what it starts is counted as all of its process's children.
    command = [sys.executable, "-m", "benchmarks", "sweep", "--quick"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=900)

    assert done.returncode == 0, done.stderr
    for contender in ("platform cold", "naive", "careful"):
        assert f"| {contender} | none |" in done.stdout
    # Two trials of two epochs, by three pairs of contenders.
    assert "12 in all, and no bit differs" in done.stdout
