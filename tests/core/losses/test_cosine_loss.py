"""`cosine` against a NumPy statement of it."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from mlfd_tune.core.losses import FEATURE_LOSSES

Array = NDArray[np.float64]


def draw(*shape: int) -> tuple[Array, Array]:
    random = np.random.default_rng(0)
    return random.normal(0, 1, shape), random.normal(0.5, 1, shape)


def loss(student: Array, target: Array) -> float:
    return float(FEATURE_LOSSES["cosine"]()(torch.from_numpy(student), torch.from_numpy(target)))


def one_less_cosine(student: Array, target: Array) -> float:
    return float(1 - student @ target / np.linalg.norm(student) / np.linalg.norm(target))


def test_of_vectors_it_is_the_mean_over_the_samples() -> None:
    student, target = draw(4, 6)
    expected = np.mean([one_less_cosine(s, t) for s, t in zip(student, target, strict=True)])
    assert loss(student, target) == pytest.approx(expected)


def test_of_maps_it_is_the_mean_over_samples_and_positions() -> None:
    student, target = draw(4, 5, 3, 2)
    expected = np.mean(
        [
            one_less_cosine(student[n, :, y, x], target[n, :, y, x])
            for n in range(4)
            for y in range(3)
            for x in range(2)
        ]
    )
    assert loss(student, target) == pytest.approx(expected)


def test_the_scale_of_a_position_does_not_matter() -> None:
    student, target = draw(4, 5, 3, 2)
    scales = 10.0 ** np.random.default_rng(1).uniform(-3, 3, (4, 1, 3, 2))
    assert loss(student * scales, target / scales) == pytest.approx(loss(student, target))


def test_opposite_directions_are_two_apart_and_a_zero_vector_is_one_from_all() -> None:
    student, _ = draw(4, 6)
    assert loss(student, -student) == pytest.approx(2)
    assert loss(np.zeros((4, 6)), student) == 1
