"""What every feature loss keeps to, whatever it compares."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from mlfd_tune.core.errors import UserError
from mlfd_tune.core.losses import FEATURE_LOSSES, FeatureLoss

VECTOR, MAP = (6, 5), (6, 3, 2, 4)
NAMES = (
    "attention_map",
    "cka",
    "cosine",
    "mse",
    "normalised_mse",
    "rkd",
    "rkd_angle",
    "rkd_distance",
    "smooth_l1",
)
CASES = [
    pytest.param(name, shape, id=f"{name}-{'vector' if len(shape) == 2 else 'map'}")
    for name in NAMES
    for shape in (VECTOR, MAP)
    if len(shape) == 4 or FEATURE_LOSSES[name].takes_vectors
]


def draw(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def loss_and_gradient(
    name: str, student: Tensor, target: Tensor, *, autocast: bool = False
) -> tuple[Tensor, Tensor]:
    student = student.clone().requires_grad_()
    with torch.autocast("cpu", dtype=torch.bfloat16, enabled=autocast):
        loss = FEATURE_LOSSES[name]()(student, target)
    loss.backward()
    assert student.grad is not None
    return loss.detach(), student.grad


def test_the_built_in_losses_are_known_by_their_names() -> None:
    assert set(NAMES) <= set(FEATURE_LOSSES)
    assert {name for name in NAMES if not FEATURE_LOSSES[name].takes_vectors} == {"attention_map"}
    compares = {name: FEATURE_LOSSES[name].compares for name in NAMES}
    assert {name for name in NAMES if compares[name] == "samples"} == {
        "cka",
        "rkd",
        "rkd_angle",
        "rkd_distance",
    }
    assert [name for name in NAMES if compares[name] == "positions"] == ["attention_map"]
    with pytest.raises(UserError, match=r"unknown feature loss 'cosin'.*did you mean 'cosine'\?"):
        FEATURE_LOSSES.require("cosin")


@pytest.mark.parametrize(("name", "shape"), CASES)
def test_a_loss_is_a_scalar_that_is_zero_where_the_student_equals_the_target(
    name: str, shape: tuple[int, ...]
) -> None:
    student = draw(*shape)
    loss = FEATURE_LOSSES[name]()
    assert loss(student, draw(*shape, seed=1)).shape == ()
    assert float(loss(student, draw(*shape, seed=1))) > 1e-4
    assert float(loss(student, student.clone())) == pytest.approx(0, abs=1e-12)


@pytest.mark.parametrize(("name", "shape"), CASES)
def test_the_gradient_is_right(name: str, shape: tuple[int, ...]) -> None:
    target = draw(*shape, seed=1)
    loss = FEATURE_LOSSES[name]()
    student = draw(*shape).requires_grad_()
    assert torch.autograd.gradcheck(lambda features: loss(features, target), student)


@pytest.mark.parametrize(("name", "shape"), CASES)
def test_no_gradient_reaches_the_target(name: str, shape: tuple[int, ...]) -> None:
    target = draw(*shape, seed=1).requires_grad_()
    loss_and_gradient(name, draw(*shape), target)
    assert target.grad is None


@pytest.mark.parametrize(("name", "shape"), CASES)
def test_single_precision_agrees_with_double(name: str, shape: tuple[int, ...]) -> None:
    student, target = draw(*shape), draw(*shape, seed=1)
    double, double_gradient = loss_and_gradient(name, student, target)
    single, single_gradient = loss_and_gradient(name, student.float(), target.half())
    assert (double.dtype, single.dtype) == (torch.float64, torch.float32)
    assert float(single) == pytest.approx(float(double), rel=1e-2)
    torch.testing.assert_close(single_gradient.double(), double_gradient, rtol=0.05, atol=2e-3)


@pytest.mark.parametrize(("name", "shape"), CASES)
def test_autocast_changes_neither_loss_nor_gradient(name: str, shape: tuple[int, ...]) -> None:
    student, target = draw(*shape).bfloat16(), draw(*shape, seed=1).float()
    plain, plain_gradient = loss_and_gradient(name, student, target)
    cast, cast_gradient = loss_and_gradient(name, student, target, autocast=True)
    assert cast.dtype == torch.float32
    assert torch.equal(cast, plain)
    assert torch.equal(cast_gradient, plain_gradient)


@pytest.mark.parametrize("images", [1, 2, 3])
@pytest.mark.parametrize(("name", "shape"), CASES)
def test_a_small_batch_has_a_finite_loss_and_gradient(
    name: str, shape: tuple[int, ...], images: int
) -> None:
    shape = (images, *shape[1:])
    loss, gradient = loss_and_gradient(name, draw(*shape).float(), draw(*shape, seed=1).float())
    assert loss.isfinite()
    assert gradient.isfinite().all()


@pytest.mark.parametrize("value", [0.0, 0.3])  # the mean of 0.3 is rounded
@pytest.mark.parametrize(("name", "shape"), CASES)
def test_features_that_are_all_alike_have_a_finite_loss_and_gradient(
    name: str, shape: tuple[int, ...], value: float
) -> None:
    alike, other = torch.full(shape, value), draw(*shape).float()
    for student, target in ((alike, other), (other, alike), (alike, alike)):
        loss, gradient = loss_and_gradient(name, student, target)
        assert loss.isfinite()
        assert gradient.abs().max() < 1e3


def test_the_bound_on_large_half_precision_features_is_that_of_single_precision() -> None:
    large = torch.full((2, 3), 300.0, dtype=torch.float16)  # its square overflows half precision
    assert float(FEATURE_LOSSES["mse"]()(large, torch.zeros(2, 3).half())) == 90000.0


@pytest.mark.parametrize(
    ("name", "student", "target"),
    [
        ("attention_map", (4, 3, 2, 2), (4, 7, 2, 2)),
        ("cka", (4, 3, 2, 2), (4, 5)),
        ("rkd_distance", (4, 6), (4, 3, 2, 2)),
        ("rkd_angle", (4, 6), (4, 9)),
        ("rkd", (4, 3, 2, 2), (4, 3, 5, 5)),
    ],
)
def test_what_need_not_agree_may_differ(
    name: str, student: tuple[int, ...], target: tuple[int, ...]
) -> None:
    assert FEATURE_LOSSES[name].mismatch(student, target) is None
    assert FEATURE_LOSSES[name]()(draw(*student), draw(*target)).isfinite()


@pytest.mark.parametrize(
    ("name", "student", "target", "words"),
    [
        ("mse", (4, 3), (4, 5), "they must be equal"),
        ("cosine", (4, 3, 2, 2), (4, 3), "they must be equal"),
        ("attention_map", (4, 3, 2, 2), (4, 3, 2, 1), "images, height and width must be equal"),
        ("attention_map", (4, 3), (4, 3), r"compares maps \(N, C, H, W\) only, not \(4, 3\)"),
        ("attention_map", (4, 3, 2, 2), (4, 3), r"only, not \(4, 3\)"),
        ("cka", (4, 3), (5, 3), "the numbers of images must be equal"),
    ],
)
def test_what_cannot_be_compared_is_an_error_in_words(
    name: str, student: tuple[int, ...], target: tuple[int, ...], words: str
) -> None:
    with pytest.raises(ValueError, match=words):
        FEATURE_LOSSES[name]()(draw(*student), draw(*target))


def test_a_loss_of_ones_own_needs_what_it_compares_and_how_it_is_computed() -> None:
    class LargestDifference(FeatureLoss):
        compares = "elements"

        def compute(self, student: Tensor, target: Tensor) -> Tensor:
            return (student - target).abs().max()

    assert float(LargestDifference()(torch.tensor([[1, 5]]), torch.tensor([[2, 2]]))) == 3
    with pytest.raises(ValueError, match="they must be equal"):
        LargestDifference()(torch.zeros(1, 2), torch.zeros(1, 3))
