"""`mse`, `normalised_mse` and `smooth_l1` against NumPy statements of them."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from mlfd_tune.core.losses import FEATURE_LOSSES

Array = NDArray[np.float64]
SHAPES = [(5, 7), (5, 3, 2, 4)]


def draw(*shape: int) -> tuple[Array, Array]:
    random = np.random.default_rng(0)
    return random.normal(0, 2, shape), random.normal(1, 1, shape)


def loss(name: str, student: Array, target: Array) -> float:
    return float(FEATURE_LOSSES[name]()(torch.from_numpy(student), torch.from_numpy(target)))


@pytest.mark.parametrize("shape", SHAPES)
def test_mse_is_the_mean_over_all_elements(shape: tuple[int, ...]) -> None:
    student, target = draw(*shape)
    assert loss("mse", student, target) == pytest.approx(((student - target) ** 2).mean())


@pytest.mark.parametrize("shape", SHAPES)
def test_normalised_mse_compares_samples_of_mean_square_one(shape: tuple[int, ...]) -> None:
    def normalised(x: Array) -> Array:
        return np.stack([sample / np.linalg.norm(sample) * np.sqrt(sample.size) for sample in x])

    student, target = draw(*shape)
    expected = ((normalised(student) - normalised(target)) ** 2).mean()
    assert loss("normalised_mse", student, target) == pytest.approx(expected)


@pytest.mark.parametrize("shape", SHAPES)
def test_normalised_mse_is_twice_one_less_the_cosine_of_the_flattened_samples(
    shape: tuple[int, ...],
) -> None:
    student, target = (x.reshape(len(x), -1) for x in draw(*shape))
    assert loss("normalised_mse", student, target) == pytest.approx(
        2 * loss("cosine", student, target)
    )


@pytest.mark.parametrize("shape", SHAPES)
def test_normalised_mse_does_not_depend_on_the_scale_of_a_sample(shape: tuple[int, ...]) -> None:
    student, target = draw(*shape)
    scales = np.array([1e-3, 0.1, 1, 10, 1e3]).reshape(-1, *(1,) * (len(shape) - 1))
    assert loss("normalised_mse", student * scales, target * scales[::-1]) == pytest.approx(
        loss("normalised_mse", student, target)
    )


@pytest.mark.parametrize("shape", SHAPES)
def test_smooth_l1_is_quadratic_up_to_one_and_linear_from_there(shape: tuple[int, ...]) -> None:
    student, target = draw(*shape)
    distance = np.abs(student - target)
    assert distance.min() < 1 < distance.max()
    expected = np.where(distance < 1, distance**2 / 2, distance - 0.5).mean()
    assert loss("smooth_l1", student, target) == pytest.approx(expected)
