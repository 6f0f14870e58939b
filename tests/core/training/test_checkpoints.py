from __future__ import annotations

import pytest
import torch

from mlfd_tune.core.training import Trainer
from mlfd_tune.core.training import trainer as trainer_module
from mlfd_tune.core.training.trainer import CHECKPOINT
from tests.helpers.digit_tasks import (
    assert_identical,
    digits_trainer,
    train_to_the_end,
    weights,
)

SETTINGS = {
    "adam, one-cycle": {},
    "sgd with momentum, cosine after warm-up": {
        "optimizer": "sgd",
        "momentum": 0.9,
        "schedule": "cosine",
        "warmup_epochs": 1.5,
    },
    "adamw, constant after warm-up": {
        "optimizer": "adamw",
        "schedule": "constant",
        "warmup_epochs": 2.5,
    },
    "moving average": {"ema_decay": 0.8},
    "everything at once": {
        "optimizer": "sgd",
        "ema_decay": 0.9,
        "accumulate": 2,
        "batch_size": 16,
        "clip_grad": 0.5,
        "warmup_epochs": 1,
        "schedule": "cosine",
    },
}


def final(trainer: Trainer) -> dict[str, torch.Tensor]:
    with trainer.final_weights():
        return weights(trainer)


@pytest.mark.parametrize("settings", SETTINGS.values(), ids=SETTINGS)
@pytest.mark.parametrize("stop_after", [1, 3])
def test_a_resumed_training_equals_an_uninterrupted_one_bit_by_bit(settings, stop_after, tmp_path):
    whole = train_to_the_end(digits_trainer(epochs=5, **settings))
    first = digits_trainer(epochs=5, **settings)
    for _ in range(stop_after):
        first.train_epoch()
    first.save(tmp_path)
    train_to_the_end(first)  # what was lost, and must leave no trace

    second = digits_trainer(epochs=5, **settings)
    with torch.no_grad():  # whatever it starts from is replaced
        for parameter in second.task.model.parameters():
            parameter.fill_(7.0)
    torch.manual_seed(99)
    assert second.resume(tmp_path)
    assert second.epoch == stop_after
    train_to_the_end(second)

    assert second.history == whole.history == first.history
    assert_identical(weights(second), weights(whole))
    assert_identical(final(second), final(whole))
    assert second.optimizer.param_groups[0]["lr"] == whole.optimizer.param_groups[0]["lr"]


def test_saving_changes_nothing(tmp_path):
    quiet, saving = digits_trainer(ema_decay=0.9), digits_trainer(ema_decay=0.9)
    while not quiet.done:
        quiet.train_epoch()
        saving.train_epoch()
        saving.save(tmp_path)
    assert saving.history == quiet.history
    assert_identical(weights(saving), weights(quiet))


def test_without_a_checkpoint_the_training_starts_at_the_beginning(tmp_path):
    trainer = digits_trainer()
    before = weights(trainer)
    assert not trainer.resume(tmp_path)
    assert trainer.epoch == 0
    assert_identical(weights(trainer), before)


@pytest.mark.parametrize("settings", SETTINGS.values(), ids=SETTINGS)
def test_a_checkpoint_holds_weights_and_numbers_but_no_code(settings, tmp_path):
    trainer = digits_trainer(**settings)
    trainer.train_epoch()
    trainer.save(tmp_path)
    state = torch.load(tmp_path / CHECKPOINT, weights_only=True)
    assert {"model", "optimizer", "schedule", "history"} <= state.keys()
    assert state["history"] == trainer.history


def test_a_checkpoint_replaces_the_one_before_and_leaves_no_other_file(tmp_path):
    trainer = digits_trainer()
    for _ in range(2):
        trainer.train_epoch()
        trainer.save(tmp_path)
    assert [file.name for file in tmp_path.iterdir()] == [CHECKPOINT]
    again = digits_trainer()
    again.resume(tmp_path)
    assert again.epoch == 2


def test_a_checkpoint_that_fails_half_way_leaves_the_one_before(tmp_path, monkeypatch):
    trainer = digits_trainer()
    trainer.train_epoch()
    trainer.save(tmp_path)
    trainer.train_epoch()
    monkeypatch.setattr(trainer.task.model, "state_dict", lambda: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        trainer.save(tmp_path)
    again = digits_trainer()
    again.resume(tmp_path)
    assert again.epoch == 1


def test_now_and_then_means_not_before_a_while_has_passed(tmp_path, monkeypatch):
    trainer = digits_trainer()
    trainer.train_epoch()
    trainer.save_now_and_then(tmp_path)
    assert not (tmp_path / CHECKPOINT).exists()
    monkeypatch.setattr(trainer_module, "CHECKPOINT_EVERY_S", 0.0)
    trainer.save_now_and_then(tmp_path)
    assert (tmp_path / CHECKPOINT).exists()
