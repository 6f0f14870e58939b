from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from mlfd_tune.core.errors import NonFiniteLossError
from mlfd_tune.core.losses import LossTerms
from mlfd_tune.core.seeding import RandomStreams
from tests.helpers.digit_tasks import (
    assert_identical,
    digits_trainer,
    train_to_the_end,
    weights,
)


def test_the_same_seed_gives_the_same_numbers_bit_by_bit_whatever_the_global_state():
    torch.manual_seed(1)
    one = train_to_the_end(digits_trainer(seed=5))
    torch.manual_seed(2)
    other = train_to_the_end(digits_trainer(seed=5))
    assert one.history == other.history
    assert_identical(weights(one), weights(other))


def test_training_leaves_the_global_random_state_as_it_was():
    before = torch.get_rng_state()
    train_to_the_end(digits_trainer())
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize(
    "other", [{"seed": 6}, {"dataset": "letters"}, {"role": "teacher"}], ids=str
)
def test_another_seed_dataset_or_role_gives_other_numbers(other):
    one = train_to_the_end(digits_trainer(seed=5, epochs=1))
    two = train_to_the_end(digits_trainer(**{"seed": 5, **other}, epochs=1))
    assert one.history[0]["train/loss"] != two.history[0]["train/loss"]
    assert one.task.seen != two.task.seen


def test_it_learns():
    trainer = train_to_the_end(digits_trainer(epochs=40, size=900))
    assert trainer.history[-1]["val/acc1"] > 85
    assert trainer.history[-1]["train/loss"] < trainer.history[0]["train/loss"] / 3


def test_every_epoch_has_a_new_order_from_its_own_stream_and_whole_batches_only():
    trainer = train_to_the_end(digits_trainer(seed=4, size=100, epochs=2))
    streams = RandomStreams(4, "student", "digits")
    for epoch in (1, 2):
        batches = trainer.task.seen[3 * (epoch - 1) : 3 * epoch]
        assert [len(batch) for batch in batches] == [32, 32, 32]
        order = torch.randperm(100, generator=streams.torch(f"order/{epoch}"))
        assert [index for batch in batches for index in batch] == order[:96].tolist()
    assert len(trainer.task.seen) == 6


def test_settings_under_comparison_do_not_move_the_order():
    one = train_to_the_end(digits_trainer(lr=0.1, optimizer="sgd", ema_decay=0.9))
    other = train_to_the_end(digits_trainer(plain=True, weight_decay=0.0, schedule="cosine"))
    assert one.task.seen == other.task.seen


def test_a_set_smaller_than_a_batch_is_one_batch():
    trainer = digits_trainer(size=20, batch_size=64, accumulate=4, epochs=1)
    assert trainer.steps_per_epoch == 1
    trainer.train_epoch()
    assert [sorted(batch) for batch in trainer.task.seen] == [list(range(20))]


def test_an_epoch_reports_losses_validation_and_learning_rate():
    metrics = digits_trainer(schedule="constant").train_epoch()
    assert set(metrics) == {
        "train/loss",
        "train/loss_ce",
        "train/lr",
        "val/acc1",
        "val/loss",
    }
    assert metrics["train/lr"] == 0.01
    assert 0 <= metrics["val/acc1"] <= 100


def test_the_reported_loss_is_the_mean_over_the_batches():
    trainer = digits_trainer(plain=True, noise=0.0, lr=1e-12, weight_decay=0.0, epochs=1)
    task = trainer.task
    whole = float(task.loss(torch.arange(96), torch.Generator()).parts["loss"])
    assert trainer.train_epoch()["train/loss"] == pytest.approx(whole, rel=1e-5)


@pytest.mark.parametrize("k", [2, 3])
@pytest.mark.parametrize("optimizer", ["adam", "adamw", "sgd"])
def test_k_accumulated_batches_make_the_step_of_one_batch_k_times_as_large(k, optimizer):
    settings = {"plain": True, "double": True, "noise": 0.0, "optimizer": optimizer}
    small = digits_trainer(batch_size=16, accumulate=k, **settings)
    large = digits_trainer(batch_size=16 * k, **settings)
    assert small.steps_per_epoch == large.steps_per_epoch == 96 // (16 * k)
    train_to_the_end(small)
    train_to_the_end(large)
    expected = weights(large)
    for name, value in weights(small).items():
        torch.testing.assert_close(value, expected[name], rtol=1e-9, atol=1e-12)
    for one, other in zip(small.history, large.history, strict=True):
        assert one == pytest.approx(other, rel=1e-6)  # losses are summed up in float32


def test_batches_that_fill_no_step_are_left_out():
    trainer = digits_trainer(batch_size=16, accumulate=4, epochs=1)  # 6 batches
    assert trainer.steps_per_epoch == 1
    trainer.train_epoch()
    assert len(trainer.task.seen) == 4
    assert all(p.grad is None for p in trainer.task.model.parameters())


def test_the_gradients_norm_is_clipped_over_all_parameters():
    settings = {"optimizer": "sgd", "momentum": 0.0, "weight_decay": 0.0, "schedule": "constant"}
    settings |= {"plain": True, "batch_size": 96, "epochs": 1, "lr": 1.0, "double": True}

    def step_length(clip_grad: float | None) -> float:
        trainer = digits_trainer(**settings, clip_grad=clip_grad)
        before = weights(trainer)
        trainer.train_epoch()
        squares = [
            (value - before[name]).square().sum() for name, value in weights(trainer).items()
        ]
        return math.sqrt(float(sum(squares)))

    free = step_length(None)
    assert step_length(free / 10) == pytest.approx(free / 10, rel=1e-4)
    assert step_length(free * 10) == pytest.approx(free, rel=1e-9)


def test_the_accumulated_gradient_is_what_is_clipped():
    settings = {"plain": True, "double": True, "noise": 0.0, "clip_grad": 0.05, "optimizer": "sgd"}
    small = train_to_the_end(digits_trainer(batch_size=16, accumulate=2, **settings))
    large = train_to_the_end(digits_trainer(batch_size=32, **settings))
    expected = weights(large)
    for name, value in weights(small).items():
        torch.testing.assert_close(value, expected[name], rtol=1e-9, atol=1e-12)


def test_the_moving_average_is_evaluated_and_the_own_weights_go_on():
    decay = 0.7
    trainer = digits_trainer(batch_size=96, epochs=4, ema_decay=decay)  # one step an epoch
    plain = digits_trainer(batch_size=96, epochs=4)
    average: dict[str, np.ndarray] = {}
    for _ in range(4):
        metrics = trainer.train_epoch()
        plain.train_epoch()
        assert_identical(weights(trainer), weights(plain))
        for name, value in trainer.task.model.named_parameters():
            new = value.detach().double().numpy()
            average[name] = decay * average[name] + (1 - decay) * new if name in average else new
        with trainer.final_weights():
            trainer.task.model.eval()
            assert trainer.task.evaluate() == {
                key: metrics[key] for key in ("val/acc1", "val/loss")
            }
            for name, value in trainer.task.model.named_parameters():
                np.testing.assert_allclose(
                    value.detach().numpy(), average[name], rtol=1e-4, atol=1e-6
                )
            buffers = dict(trainer.task.model.named_buffers())
            assert_identical(buffers, dict(plain.task.model.named_buffers()))
        assert_identical(weights(trainer), weights(plain))
    assert trainer.history[-1]["val/loss"] != plain.history[-1]["val/loss"]


def test_the_own_weights_come_back_after_an_error_under_the_average():
    trainer = digits_trainer(ema_decay=0.5)
    trainer.train_epoch()
    before = weights(trainer)
    with pytest.raises(RuntimeError, match="on purpose"), trainer.final_weights():
        raise RuntimeError("on purpose")
    assert_identical(weights(trainer), before)


def test_a_loss_that_diverges_stops_the_training_by_its_name_and_epoch():
    trainer = digits_trainer(lr=1e30, optimizer="sgd", schedule="constant", plain=True)
    with pytest.raises(NonFiniteLossError, match=r"train/loss, .*not finite in epoch \d"):
        train_to_the_end(trainer)
    assert all(math.isfinite(value) for epoch in trainer.history for value in epoch.values())


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_the_term_that_is_not_finite_is_named_and_no_other(value, monkeypatch):
    trainer = digits_trainer()
    learn = trainer.task.loss

    def with_a_bad_term(indices, augment) -> LossTerms:
        terms = learn(indices, augment)
        return LossTerms(terms.total, {**terms.parts, "loss_level/stride32": torch.tensor(value)})

    monkeypatch.setattr(trainer.task, "loss", with_a_bad_term)
    with pytest.raises(NonFiniteLossError) as caught:
        trainer.train_epoch()
    assert str(caught.value) == "train/loss_level/stride32 not finite in epoch 1"
    assert trainer.history == []


@pytest.mark.parametrize("threads", [1, 2])
def test_the_threads_are_the_settings_while_training_and_the_callers_afterwards(threads):
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(3)
        trainer = digits_trainer(threads=threads)
        trainer.train_epoch()
        assert set(trainer.task.threads) == {threads}
        assert torch.get_num_threads() == 3
        trainer.task.size = 10**6  # more than there is: an error in mid-epoch
        with pytest.raises(IndexError):
            trainer.train_epoch()
        assert torch.get_num_threads() == 3
    finally:
        torch.set_num_threads(before)


def test_bf16_trains_too_and_gives_other_numbers_than_fp32():
    one = digits_trainer(precision="bf16", epochs=1).train_epoch()
    other = digits_trainer(precision="fp32", epochs=1).train_epoch()
    assert one["train/loss"] == pytest.approx(other["train/loss"], rel=0.05)
    assert one["train/loss"] != other["train/loss"]
