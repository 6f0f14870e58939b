"""`attention_map` against a NumPy statement of it."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from mlfd_tune.core.losses import FEATURE_LOSSES

Array = NDArray[np.float64]


def draw(*shape: int, seed: int = 0) -> Array:
    return np.random.default_rng(seed).normal(0, 1, shape)


def loss(student: Array, target: Array) -> float:
    attention = FEATURE_LOSSES["attention_map"]()
    return float(attention(torch.from_numpy(student), torch.from_numpy(target)))


def attention_map(sample: Array) -> Array:
    """The sum over the channels of the squares of one sample (C, H, W), of unit length."""
    flat = (sample**2).sum(axis=0).ravel()
    return flat / np.linalg.norm(flat)


def test_it_is_the_mean_squared_difference_of_unit_attention_maps() -> None:
    student, target = draw(5, 3, 2, 4), draw(5, 7, 2, 4, seed=1)
    expected = np.mean(
        [(attention_map(s) - attention_map(t)) ** 2 for s, t in zip(student, target, strict=True)]
    )
    assert loss(student, target) == pytest.approx(expected)


def test_the_scale_of_a_sample_and_the_order_and_sign_of_channels_do_not_matter() -> None:
    student, target = draw(5, 3, 2, 4), draw(5, 7, 2, 4, seed=1)
    scales = np.array([1e-3, 0.1, 1, 10, 1e3]).reshape(5, 1, 1, 1)
    changed = -student[:, [2, 0, 1]] * scales
    assert loss(changed, target / scales) == pytest.approx(loss(student, target))


def test_attention_at_different_places_is_as_far_apart_as_can_be() -> None:
    left, right = np.zeros((2, 1, 1, 8)), np.zeros((2, 1, 1, 8))
    left[..., 0] = right[..., 7] = 3
    assert loss(left, right) == pytest.approx(2 / 8)
