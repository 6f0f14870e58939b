"""A checkpoint is written whole or not at all, and never ends the training that it is to save."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import torch

from mlfd_tune.core.training import Trainer
from mlfd_tune.core.training.checkpoint_file import (
    CHECKPOINT,
    NoRoomError,
    checkpoint_bytes,
    write_checkpoint,
)
from tests.helpers.digit_tasks import assert_identical, digits_trainer, train_to_the_end, weights
from tests.helpers.disks import small_disk


@pytest.fixture(scope="module")
def size(tmp_path_factory: pytest.TempPathFactory) -> int:
    """Bytes of the checkpoint of `digits_trainer` after an epoch."""
    folder = tmp_path_factory.mktemp("whole")
    trainer = digits_trainer(epochs=3)
    trainer.train_epoch()
    trainer.save(folder)
    return (folder / CHECKPOINT).stat().st_size


@pytest.mark.parametrize(
    "settings",
    [{}, {"ema_decay": 0.9}, {"optimizer": "sgd", "momentum": 0.9}, {"optimizer": "adamw"}],
    ids=str,
)
def test_a_checkpoint_is_no_larger_than_is_said_beforehand(settings, tmp_path: Path) -> None:
    trainer = digits_trainer(epochs=3, **settings)
    asked = []

    @contextmanager
    def room(needed: int) -> Iterator[None]:
        asked.append(needed)
        yield

    trainer.room = room
    for _ in range(3):
        trainer.train_epoch()
        trainer.save(tmp_path)
        written = (tmp_path / CHECKPOINT).stat().st_size
        assert 0.4 * asked[-1] < written <= asked[-1]


def test_views_of_one_tensor_count_with_all_that_is_written_of_it(tmp_path: Path) -> None:
    state = {"rows": list(torch.zeros(100, 1000)[:3]), "notes": [{"val/acc1": 1.0}] * 50}
    needed = checkpoint_bytes(state)
    write_checkpoint(state, tmp_path, needed)
    assert (tmp_path / CHECKPOINT).stat().st_size <= needed


def test_training_goes_on_where_the_disk_of_its_checkpoints_is_full(
    tmp_path: Path, size: int, caplog: pytest.LogCaptureFixture
) -> None:
    whole = train_to_the_end(digits_trainer(epochs=3))
    with small_disk(tmp_path / "work", f"{size // 2}") as disk:
        trainer = digits_trainer(epochs=3)
        with caplog.at_level(logging.WARNING):
            while not trainer.done:
                trainer.train_epoch()
                trainer.save(disk.path)
        assert not list(disk.path.iterdir())
        (told,) = [record.getMessage() for record in caplog.records]
        assert str(disk.path) in told
        assert "the disk is full: it needs" in told
        assert "\n" not in told

        disk.grow(str(4 * size))
        trainer.save(disk.path)
        assert trainer.unsaved is None
        resumed = digits_trainer(epochs=3)
        assert resumed.resume(disk.path)
    assert_identical(weights(resumed), weights(whole))


def test_what_others_write_meanwhile_leaves_no_part_of_a_checkpoint(tmp_path: Path) -> None:
    """The disk has room when the writing begins, and none before it ends."""
    with small_disk(tmp_path / "work", "1m") as disk:
        trainer = digits_trainer(epochs=3)
        trainer.train_epoch()
        trainer.save(disk.path)
        kept = (disk.path / CHECKPOINT).read_bytes()
        trainer.train_epoch()

        state = {"model": {"a": torch.zeros(30_000), "b": torch.zeros(30_000)}}
        for leave in range(4096, 200_000, 20_480):  # torch has an error of its own for most places
            disk.fill(leave)
            with pytest.raises(OSError, match="No space left"):
                write_checkpoint(state, disk.path, needed=1)
            disk.empty()
        assert [path.name for path in disk.path.iterdir()] == [CHECKPOINT]
        assert (disk.path / CHECKPOINT).read_bytes() == kept


def test_a_limit_without_room_is_told_once_and_kept_to(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    trainer = digits_trainer(epochs=2)
    trainer.train_epoch()
    trainer.save(tmp_path)
    kept = (tmp_path / CHECKPOINT).read_bytes()

    def no_room(needed: int):
        raise NoRoomError("it needs too much")

    trainer.room = no_room
    trainer.train_epoch()
    with caplog.at_level(logging.WARNING):
        trainer.save(tmp_path)
        trainer.save(tmp_path)
    assert (tmp_path / CHECKPOINT).read_bytes() == kept
    assert [record.getMessage() for record in caplog.records] == [
        "no checkpoint is written: it needs too much; training goes on without"
    ]


def test_nothing_is_saved_where_the_folder_was_taken_away(tmp_path: Path) -> None:
    trainer: Trainer = digits_trainer(epochs=2)
    asked: list[int] = []

    @contextmanager
    def room(needed: int) -> Iterator[None]:
        asked.append(needed)
        yield

    trainer.room = room
    trainer.train_epoch()
    trainer.save(tmp_path / "removed")
    assert trainer.unsaved is None
    assert asked == [], "others may have to make room that nobody needs"
    assert not (tmp_path / "removed").exists()
