"""UNIC's loss against a NumPy statement of it."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from mlfd_tune.core.losses import unic_feature_loss

Array = NDArray[np.float64]


def draw(*shape: int) -> tuple[Array, Array]:
    random = np.random.default_rng(0)
    return random.normal(0, 2, shape), random.normal(1, 1, shape)


def loss(student: Array, target: Array) -> Array:
    return unic_feature_loss(torch.from_numpy(student), torch.from_numpy(target)).numpy()


def of_one_token(student: Array, target: Array) -> float:
    cosine = student @ target / np.linalg.norm(student) / np.linalg.norm(target)
    distance = np.abs(student - target)
    smooth = np.where(distance < 1, distance**2 / 2, distance - 0.5).mean()
    return float(0.5 * (1 - cosine) + 0.5 * smooth)


def test_of_vectors_it_is_half_and_half_per_image() -> None:
    student, target = draw(4, 6)
    expected = [of_one_token(s, t) for s, t in zip(student, target, strict=True)]
    np.testing.assert_allclose(loss(student, target), expected)


def test_of_tokens_it_is_the_mean_over_the_tokens_of_an_image() -> None:
    student, target = draw(4, 5, 6)
    expected = [
        np.mean([of_one_token(s, t) for s, t in zip(*image, strict=True)])
        for image in zip(student, target, strict=True)
    ]
    np.testing.assert_allclose(loss(student, target), expected)


@pytest.mark.parametrize("shape", [(3, 4), (3, 2, 4)])
def test_the_gradient_is_right_and_none_reaches_the_target(shape: tuple[int, ...]) -> None:
    student, target = (torch.from_numpy(x).requires_grad_() for x in draw(*shape))
    assert torch.autograd.gradcheck(lambda x: unic_feature_loss(x, target), student)
    unic_feature_loss(student, target).sum().backward()
    assert target.grad is None


def test_an_image_equal_to_its_target_has_no_loss_and_one_without_features_a_finite_gradient() -> (
    None
):
    _, target = draw(2, 6)
    student = torch.from_numpy(target).clone()
    student[1] = 0
    student.requires_grad_()
    losses = unic_feature_loss(student, torch.from_numpy(target))
    losses.sum().backward()
    assert float(losses[0].detach()) == pytest.approx(0, abs=1e-12)
    assert student.grad is not None
    assert student.grad.isfinite().all()


def test_it_is_computed_in_single_precision_under_autocast() -> None:
    student, target = (torch.from_numpy(x) for x in draw(4, 6))
    expected = unic_feature_loss(student.bfloat16(), target.float())
    with torch.autocast("cpu", dtype=torch.bfloat16):
        losses = unic_feature_loss(student.bfloat16(), target.float())
    assert losses.dtype == torch.float32
    assert torch.equal(losses, expected)


@pytest.mark.parametrize(
    ("student", "target"), [((4, 6), (4, 5)), ((4, 5, 6), (4, 6)), ((4, 6, 2, 2), (4, 6, 2, 2))]
)
def test_other_shapes_are_an_error_in_words(
    student: tuple[int, ...], target: tuple[int, ...]
) -> None:
    with pytest.raises(ValueError, match=r"both must be \(N, D\) or \(N, L, D\)"):
        unic_feature_loss(torch.zeros(student), torch.zeros(target))
