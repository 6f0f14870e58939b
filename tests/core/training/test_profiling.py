from __future__ import annotations

import gzip
import json
import math
from pathlib import Path

import pytest

from mlfd_tune.core.errors import NonFiniteLossError
from mlfd_tune.core.training.profiling import (
    OPERATORS,
    STEPS,
    TRACE,
    EpochProfiler,
    profiled_epoch,
)
from tests.helpers.digit_tasks import assert_identical, digits_trainer, train_to_the_end, weights


def events(folder: Path) -> list[str]:
    with gzip.open(folder / TRACE, "rt") as file:
        return [event.get("name", "") for event in json.load(file)["traceEvents"]]


def test_a_profiled_training_has_the_numbers_of_any_other(tmp_path: Path) -> None:
    usual = train_to_the_end(digits_trainer(epochs=3))
    profiled = digits_trainer(epochs=3)
    profiler = EpochProfiler(tmp_path / "profile", "digits")
    while not profiled.done:
        profiler.train_epoch(profiled)

    assert profiled.history == usual.history
    assert_identical(weights(profiled), weights(usual))


def test_the_second_epoch_is_traced_into_two_files(tmp_path: Path) -> None:
    trainer = digits_trainer(epochs=3)
    profiler = EpochProfiler(tmp_path / "profile", "student digits")

    profiler.train_epoch(trainer)
    assert not (tmp_path / "profile").exists()
    profiler.train_epoch(trainer)
    assert sorted(path.name for path in (tmp_path / "profile").iterdir()) == [OPERATORS, TRACE]
    names = events(tmp_path / "profile")
    assert "aten::addmm" in names
    assert any(name.startswith("Optimizer.step") for name in names)
    text = (tmp_path / "profile" / OPERATORS).read_text()
    assert text.startswith("student digits\nepoch 2: 3 steps and the evaluation took ")
    assert "traced: 2 steps after 1 to warm up, batches of 32" in text
    assert "aten::addmm" in text


def test_a_training_of_one_epoch_of_one_step_is_traced_too(tmp_path: Path) -> None:
    trainer = digits_trainer(epochs=1, batch_size=96)
    EpochProfiler(tmp_path / "profile", "short").train_epoch(trainer)
    assert "aten::addmm" in events(tmp_path / "profile")


def test_a_long_epoch_is_traced_in_part(tmp_path: Path) -> None:
    trainer = digits_trainer(batch_size=8, size=8 * (STEPS + 10))
    profiled_epoch(trainer, tmp_path, "long")
    steps = {name for name in events(tmp_path) if name.startswith("ProfilerStep#")}
    assert len(steps) == STEPS


def test_one_of_those_that_share_a_folder_is_profiled(tmp_path: Path) -> None:
    for name in ("first", "second"):
        trainer, profiler = digits_trainer(), EpochProfiler(tmp_path / "profile", name)
        while not trainer.done:
            profiler.train_epoch(trainer)
    assert (tmp_path / "profile" / OPERATORS).read_text().startswith("first\n")


def test_a_training_that_fails_leaves_its_turn_to_another(tmp_path: Path) -> None:
    broken, profiler = digits_trainer(), EpochProfiler(tmp_path / "profile", "broken")
    profiler.train_epoch(broken)
    broken.task.pixels.fill_(math.nan)  # type: ignore[attr-defined]
    with pytest.raises(NonFiniteLossError):
        profiler.train_epoch(broken)
    assert not (tmp_path / "profile").exists()
