"""Teacher dropping: what is kept, how often, and with which weights."""

from __future__ import annotations

import math
from typing import get_args

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from torch import Tensor

from mlfd_tune.core.errors import UserError
from mlfd_tune.core.losses import DroppingPolicy, dropped_loss, teacher_weights

POLICIES: tuple[DroppingPolicy, ...] = get_args(DroppingPolicy)

policies = st.sampled_from(POLICIES)
rates = st.one_of(st.just(0.0), st.just(1.0), st.floats(0, 1))
seeds = st.integers(0, 2**32 - 1)
batches = st.tuples(st.integers(1, 12), st.integers(1, 5), seeds).map(
    lambda drawn: torch.rand(drawn[:2], generator=generator(drawn[2]))
)


def generator(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def statement(
    losses: NDArray[np.float64], policy: str, rate: float, draws: NDArray[np.float32]
) -> NDArray[np.float64]:
    """Teacher dropping image by image, given uniform draws for every image and teacher."""
    kept = np.zeros(losses.shape)
    for image, (image_losses, image_draws) in enumerate(zip(losses, draws, strict=True)):
        for teacher, draw in enumerate(image_draws):
            survives = draw >= np.float32(rate)
            largest = image_losses[teacher] == image_losses.max()
            if policy == "none" or survives or (policy == "loss_ranked" and largest):
                kept[image, teacher] = 1
        if not kept[image].any():
            kept[image, np.argmax(image_draws)] = 1
    return kept / kept.sum()


@given(losses=batches, policy=policies, rate=rates, seed=seeds)
@settings(deadline=None)
def test_the_weights_are_those_of_the_statement_given_the_same_draws(
    losses: Tensor, policy: DroppingPolicy, rate: float, seed: int
) -> None:
    draws = torch.rand(losses.shape, generator=generator(seed)).numpy()
    weights = teacher_weights(losses, policy, rate, generator(seed))
    expected = statement(losses.numpy(), policy, rate, draws)
    np.testing.assert_allclose(weights, expected, rtol=1e-6)


@given(losses=batches, policy=policies, rate=rates, seed=seeds)
@settings(deadline=None)
def test_what_is_kept_has_equal_weights_that_sum_to_one_and_no_image_is_left_out(
    losses: Tensor, policy: DroppingPolicy, rate: float, seed: int
) -> None:
    weights = teacher_weights(losses, policy, rate, generator(seed))
    assert weights.shape == losses.shape
    assert float(weights.sum()) == pytest.approx(1, rel=1e-5)
    assert len(weights[weights > 0].unique()) == 1
    assert (weights > 0).any(dim=1).all()


@given(losses=batches, rate=rates, seed=seeds)
@settings(deadline=None)
def test_the_teacher_with_the_largest_loss_is_always_kept(
    losses: Tensor, rate: float, seed: int
) -> None:
    weights = teacher_weights(losses, "loss_ranked", rate, generator(seed))
    assert (weights.gather(1, losses.argmax(dim=1, keepdim=True)) > 0).all()


@given(losses=batches, seed=seeds)
@settings(deadline=None)
def test_at_rate_one_each_image_keeps_one_teacher_and_at_rate_zero_all(
    losses: Tensor, seed: int
) -> None:
    for policy in POLICIES[1:]:
        assert ((teacher_weights(losses, policy, 1.0, generator(seed)) > 0).sum(dim=1) == 1).all()
        assert (teacher_weights(losses, policy, 0.0, generator(seed)) > 0).all()


@pytest.mark.parametrize("rate", [0.1, 0.5, 0.9])
def test_every_other_teacher_is_dropped_as_often_as_the_rate_says(rate: float) -> None:
    images = 20_000
    losses = torch.tensor([0.1, 0.3, 0.2]).expand(images, 3)
    dropped = teacher_weights(losses, "loss_ranked", rate, generator(0)) == 0
    bound = 5 * math.sqrt(rate * (1 - rate) / images)
    frequency = dropped.double().mean(dim=0)
    assert frequency[1] == 0
    assert abs(frequency[[0, 2]] - rate).max() < bound
    together = (dropped[:, 0] & dropped[:, 2]).double().mean()
    assert abs(together - rate**2) < bound  # one drop says nothing about the other


@pytest.mark.parametrize("rate", [0.3, 1.0])
def test_uniform_dropping_has_the_rate_less_the_images_that_would_lose_all(rate: float) -> None:
    images = 20_000
    losses = torch.tensor([0.1, 0.3, 0.2]).expand(images, 3)
    dropped = teacher_weights(losses, "uniform", rate, generator(0)) == 0
    expected = rate - rate**3 / 3  # of the images that lose all, a third keep this teacher
    assert abs(dropped.double().mean(dim=0) - expected).max() < 5 * math.sqrt(0.25 / images)


def test_no_dropping_weighs_all_alike_whatever_the_rate() -> None:
    weights = teacher_weights(torch.rand(4, 5), "none", 0.9, generator(0))
    assert torch.equal(weights, torch.full((4, 5), 1 / 20))


def test_every_policy_leaves_the_generator_in_the_same_state() -> None:
    def next_draw(policy: DroppingPolicy, rate: float) -> float:
        stream = generator(0)
        teacher_weights(torch.rand(4, 3), policy, rate, stream)
        return float(torch.rand(1, generator=stream))

    assert len({next_draw(policy, rate) for policy in POLICIES for rate in (0, 0.5, 1)}) == 1


def test_a_tie_is_decided_for_the_first() -> None:
    weights = teacher_weights(torch.ones(6, 3), "loss_ranked", 1.0, generator(0))
    assert torch.equal(weights, torch.tensor([1 / 6, 0, 0]).expand(6, 3))


def test_the_gradient_of_each_loss_is_its_weight_and_none_goes_through_the_weights() -> None:
    losses = torch.rand(6, 3, dtype=torch.float64, requires_grad=True)
    weights = teacher_weights(losses, "loss_ranked", 0.5, generator(0))
    assert not weights.requires_grad
    assert weights.dtype == torch.float64
    total = dropped_loss(losses, weights)
    total.backward()
    assert float(total.detach()) == pytest.approx(float((losses.detach() * weights).sum()))
    assert losses.grad is not None
    assert torch.equal(losses.grad, weights)


def test_what_is_not_allowed_is_an_error_in_words() -> None:
    losses = torch.rand(4, 3)
    with pytest.raises(UserError, match=r"unknown teacher dropping 'ranked' \(allowed: loss_rank"):
        teacher_weights(losses, "ranked", 0.5, generator(0))  # type: ignore[arg-type]
    with pytest.raises(UserError, match=r"1\.5 is not between 0 and 1"):
        teacher_weights(losses, "uniform", 1.5, generator(0))
    with pytest.raises(ValueError, match=r"must be \(images, teachers\), not \(4,\)"):
        teacher_weights(losses[:, 0], "uniform", 0.5, generator(0))
