from __future__ import annotations

import math

import pytest
import torch

from mlfd_tune.core.training import TrainSpec, build_optimizer, build_schedule

EPOCHS, STEPS = 6, 5
TOTAL = EPOCHS * STEPS
LR = 0.02


def curve(**train: object) -> list[float]:
    """Return the learning rate of every optimizer step."""
    spec = TrainSpec(epochs=EPOCHS, lr=LR, **train)
    parameter = torch.nn.Parameter(torch.zeros(1))
    optimizer = build_optimizer([parameter], spec)
    schedule = build_schedule(optimizer, spec, STEPS)
    rates = []
    for _ in range(TOTAL):
        rates.append(optimizer.param_groups[0]["lr"])
        parameter.grad = torch.ones(1)
        optimizer.step()
        schedule.step()
    return rates


def warmed_up(main, warmup: int) -> list[float]:
    """Rise linearly over `warmup` steps, then follow `main` from its start."""
    rise = [LR * (step + 1) / (warmup + 1) for step in range(warmup)]
    return rise + [main(step, TOTAL - warmup) for step in range(TOTAL - warmup)]


def constant(step: int, total: int) -> float:
    return LR


def cosine(step: int, total: int) -> float:
    return LR * (1 + math.cos(math.pi * step / total)) / 2


def onecycle(step: int) -> float:
    """Rise from lr/25 over three tenths of the steps, then fall to lr/25/10,000; by cosines."""
    low, lowest, top = LR / 25, LR / 25e4, 0.3 * TOTAL - 1
    start, end, share = (
        (low, LR, step / top) if step <= top else (LR, lowest, (step - top) / (TOTAL - 1 - top))
    )
    return end + (start - end) * (1 + math.cos(math.pi * share)) / 2


@pytest.mark.parametrize(
    ("train", "expected"),
    [
        ({"schedule": "constant"}, warmed_up(constant, 0)),
        ({"schedule": "constant", "warmup_epochs": 2}, warmed_up(constant, 10)),
        ({"schedule": "cosine"}, warmed_up(cosine, 0)),
        ({"schedule": "cosine", "warmup_epochs": 0.6}, warmed_up(cosine, 3)),
        ({"schedule": "cosine", "warmup_epochs": 5}, warmed_up(cosine, 25)),
        ({"schedule": "onecycle"}, [onecycle(step) for step in range(TOTAL)]),
    ],
    ids=[
        "constant",
        "constant after warm-up",
        "cosine",
        "cosine after a fraction of an epoch",
        "cosine in the last epoch",
        "one cycle",
    ],
)
@pytest.mark.parametrize("optimizer", ["sgd", "adam"])
def test_a_schedule_follows_its_formula(train, expected, optimizer):
    assert curve(**train, optimizer=optimizer) == pytest.approx(expected, rel=1e-6, abs=1e-12)


def test_a_warm_up_longer_than_the_training_still_ends_within_it():
    rates = curve(schedule="constant", warmup_epochs=100)
    assert all(rate > 0 for rate in rates)
    assert rates == sorted(rates)
    assert rates[-1] == LR


@pytest.mark.parametrize("schedule", ["constant", "cosine", "onecycle"])
def test_a_training_of_one_step_has_a_learning_rate(schedule):
    spec = TrainSpec(epochs=1, lr=LR, schedule=schedule)
    optimizer = build_optimizer([torch.nn.Parameter(torch.zeros(1))], spec)
    build_schedule(optimizer, spec, steps_per_epoch=1)
    assert 0 < optimizer.param_groups[0]["lr"] <= LR


@pytest.mark.parametrize(
    ("name", "kind"),
    [("adam", torch.optim.Adam), ("adamw", torch.optim.AdamW), ("sgd", torch.optim.SGD)],
)
def test_an_optimizer_is_what_it_is_called_with_its_settings(name, kind):
    spec = TrainSpec(optimizer=name, lr=0.3, weight_decay=0.04, momentum=0.6)
    optimizer = build_optimizer([torch.nn.Parameter(torch.zeros(1))], spec)
    assert type(optimizer) is kind
    (group,) = optimizer.param_groups
    assert (group["lr"], group["weight_decay"]) == (0.3, 0.04)
    assert name != "sgd" or group["momentum"] == 0.6
