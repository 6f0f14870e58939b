"""Relational losses against NumPy statements that go through pairs and triplets one by one."""

from __future__ import annotations

from itertools import permutations

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from mlfd_tune.core.losses import FEATURE_LOSSES
from mlfd_tune.core.losses.features import RelationalAngle

Array = NDArray[np.float64]
SHAPES = [((6, 5), (6, 5)), ((6, 3, 2, 2), (6, 3, 2, 2)), ((6, 4), (6, 2, 3, 1))]


def draw(*shape: int, seed: int = 0) -> Array:
    return np.random.default_rng(seed).normal(1, 2, shape)


def loss(name: str, student: Array, target: Array) -> float:
    return float(FEATURE_LOSSES[name]()(torch.from_numpy(student), torch.from_numpy(target)))


def huber(difference: float) -> float:
    return difference**2 / 2 if abs(difference) <= 1 else abs(difference) - 0.5


def distance_loss(student: Array, target: Array) -> float:
    """RKD-D: distances over their mean, over all pairs of different samples."""
    pairs = list(permutations(range(len(student)), 2))

    def relative(features: Array) -> Array:
        distances = [np.linalg.norm(features[i] - features[j]) for i, j in pairs]
        return np.array(distances) / np.mean(distances)

    return float(np.mean([huber(d) for d in relative(student) - relative(target)]))


def angle_loss(student: Array, target: Array) -> float:
    """RKD-A: cosines of the angles at j, over all triplets of different samples."""
    triplets = list(permutations(range(len(student)), 3))

    def cosines(features: Array) -> Array:
        def direction(a: int, b: int) -> Array:
            leg = (features[a] - features[b]).ravel()
            return leg / (np.linalg.norm(leg) or 1)

        return np.array([direction(i, j) @ direction(k, j) for i, j, k in triplets])

    return float(np.mean([huber(d) for d in cosines(student) - cosines(target)]))


@pytest.mark.parametrize(("student", "target"), SHAPES)
def test_they_are_the_means_over_pairs_and_triplets(
    student: tuple[int, ...], target: tuple[int, ...]
) -> None:
    s, t = draw(*student), draw(*target, seed=1)
    distance, angle = distance_loss(s, t), angle_loss(s, t)
    assert loss("rkd_distance", s, t) == pytest.approx(distance)
    assert loss("rkd_angle", s, t) == pytest.approx(angle)
    assert loss("rkd", s, t) == pytest.approx(distance + 2 * angle)


def test_distances_and_angles_far_from_each_other_are_in_the_linear_part() -> None:
    apart = np.array([[0.0, 0], [1, 0], [30, 0], [31, 0]])
    mixed = np.array([[0.0, 0], [30, 0], [1, 0], [31, 0]])
    assert loss("rkd_distance", apart, mixed) == pytest.approx(distance_loss(apart, mixed))
    assert loss("rkd_angle", apart, mixed) == pytest.approx(angle_loss(apart, mixed))
    assert angle_loss(apart, mixed) >= 0.5


@pytest.mark.parametrize("name", ["rkd_distance", "rkd_angle", "rkd"])
def test_scale_place_and_rotation_of_the_features_do_not_matter(name: str) -> None:
    student, target = draw(7, 5), draw(7, 4, seed=1)
    rotation = np.linalg.qr(draw(5, 5, seed=2))[0]
    expected = loss(name, student, target)
    assert loss(name, 100 * student @ rotation - 3, target) == pytest.approx(expected)
    assert loss(name, student, 0.01 * target + 1) == pytest.approx(expected)


@pytest.mark.parametrize("name", ["rkd_distance", "rkd_angle"])
@pytest.mark.parametrize("images", [1, 2])
def test_one_or_two_samples_have_no_relations_to_learn(name: str, images: int) -> None:
    student = torch.from_numpy(draw(images, 5)).requires_grad_()
    result = FEATURE_LOSSES[name]()(student, torch.from_numpy(draw(images, 5, seed=1)))
    result.backward()
    assert float(result.detach()) == 0
    assert student.grad is not None
    assert not student.grad.any()


@pytest.mark.parametrize("name", ["rkd_distance", "rkd_angle"])
def test_equal_samples_have_no_distance_and_no_angles_even_in_single_precision(name: str) -> None:
    points, target = draw(6, 50).astype(np.float32), draw(6, 50, seed=1)
    points[3] = points[4] = points[1]
    student = torch.from_numpy(points).requires_grad_()
    result = FEATURE_LOSSES[name]()(student, torch.from_numpy(target))
    result.backward()
    expected = {"rkd_distance": distance_loss, "rkd_angle": angle_loss}[name](points, target)
    assert float(result.detach()) == pytest.approx(expected, rel=1e-5)
    assert student.grad is not None
    assert student.grad.abs().max() < 1


def test_features_far_from_the_origin_keep_their_relations_in_single_precision() -> None:
    student, target = draw(8, 5), draw(8, 5, seed=1)
    far = torch.from_numpy(student + 1000).float()
    result = FEATURE_LOSSES["rkd"]()(far, torch.from_numpy(target).float())
    assert float(result) == pytest.approx(loss("rkd", student, target), rel=1e-3)


@pytest.mark.parametrize("entries", [1, 300])
def test_angles_computed_a_few_vertices_at_a_time_are_the_same(entries: int) -> None:
    student = torch.from_numpy(draw(11, 5)).requires_grad_()
    target = torch.from_numpy(draw(11, 4, seed=1))
    at_once = RelationalAngle()(student, target)
    in_parts = RelationalAngle(entries)(student, target)
    torch.testing.assert_close(in_parts, at_once)
    torch.testing.assert_close(
        torch.autograd.grad(in_parts, student), torch.autograd.grad(at_once, student)
    )


def test_the_backward_pass_of_angles_keeps_pairs_and_no_triplets() -> None:
    kept: list[int] = []

    def count(x: torch.Tensor) -> torch.Tensor:
        kept.append(x.numel())
        return x

    student = torch.from_numpy(draw(40, 5)).requires_grad_()
    target = torch.from_numpy(draw(40, 5, seed=1))
    with torch.autograd.graph.saved_tensors_hooks(count, lambda x: x):
        RelationalAngle(entries=2 * 40**2)(student, target)
    assert max(kept) <= 40**2
