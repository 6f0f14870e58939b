"""`cka` against a NumPy statement of linear CKA by its features' covariances."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from mlfd_tune.core.losses import FEATURE_LOSSES

Array = NDArray[np.float64]


def draw(*shape: int, seed: int = 0) -> Array:
    return np.random.default_rng(seed).normal(1, 2, shape)


def loss(student: Array, target: Array) -> float:
    return float(FEATURE_LOSSES["cka"]()(torch.from_numpy(student), torch.from_numpy(target)))


def one_less_cka(student: Array, target: Array) -> float:
    x, y = (features.reshape(len(features), -1) for features in (student, target))
    x, y = x - x.mean(axis=0), y - y.mean(axis=0)
    shared = np.linalg.norm(y.T @ x) ** 2
    return float(1 - shared / (np.linalg.norm(x.T @ x) * np.linalg.norm(y.T @ y)))


@pytest.mark.parametrize(
    ("student", "target"),
    [((9, 5), (9, 5)), ((9, 3, 2, 2), (9, 3, 2, 2)), ((9, 4), (9, 2, 3, 1)), ((2, 3), (2, 3))],
)
def test_it_is_one_less_linear_cka(student: tuple[int, ...], target: tuple[int, ...]) -> None:
    s, t = draw(*student), draw(*target, seed=1)
    assert loss(s, t) == pytest.approx(one_less_cka(s, t), abs=1e-12)


def test_orthogonal_maps_scale_and_place_do_not_matter() -> None:
    student, target = draw(9, 5), draw(9, 4, seed=1)
    rotation = np.linalg.qr(draw(5, 5, seed=2))[0]
    expected = loss(student, target)
    assert loss(100 * student @ rotation + 7, target) == pytest.approx(expected)
    assert loss(student, 0.01 * target - 1) == pytest.approx(expected)
    assert loss(student, student @ rotation * 3) == pytest.approx(0, abs=1e-12)


def test_other_linear_maps_do_matter() -> None:
    student = draw(9, 5)
    assert loss(student * np.array([1, 1, 1, 1, 50]), student) > 0.05


@pytest.mark.parametrize("images", [1, 7])  # the mean of seven equal values is rounded
def test_without_variance_nothing_is_alike_and_nothing_is_learnt(images: int) -> None:
    student = torch.full((images, 5), 100.1).requires_grad_()
    result = FEATURE_LOSSES["cka"]()(student, torch.from_numpy(draw(images, 4)).float())
    result.backward()
    assert float(result.detach()) == 1
    assert student.grad is not None
    assert not student.grad.any()
