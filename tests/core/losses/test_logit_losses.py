"""The soft term's kinds against NumPy statements of them."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from mlfd_tune.core.errors import UserError
from mlfd_tune.core.losses import LogitLoss, LossTerms, distillation_loss

Array = NDArray[np.float64]
STUDENT, TEACHER = (np.random.default_rng(seed).normal(1, 3, (6, 5)) for seed in (0, 1))


def softmax(x: Array) -> Array:
    powers = np.exp(x - x.max(axis=1, keepdims=True))
    return powers / powers.sum(axis=1, keepdims=True)


def z_scores(x: Array) -> Array:
    return (x - x.mean(axis=1, keepdims=True)) / x.std(axis=1, keepdims=True)


def soft_term(
    student: Array | torch.Tensor,
    target: Array,
    logit_loss: LogitLoss,
    temperature: float = 2.0,
    standardise_logits: bool = False,
) -> LossTerms:
    return distillation_loss(
        torch.as_tensor(student),
        None,
        torch.from_numpy(target),
        {},
        {},
        alpha=1.0,
        beta={},
        temperature=temperature,
        ce_weight=0.0,
        logit_loss=logit_loss,
        standardise_logits=standardise_logits,
    )


@pytest.mark.parametrize("standardise", [False, True])
@pytest.mark.parametrize("temperature", [0.5, 4.0])
def test_soft_cross_entropy_and_divergence_are_those_of_the_equations(
    temperature: float, standardise: bool
) -> None:
    scale = z_scores if standardise else np.array
    s, t = softmax(scale(STUDENT) / temperature), softmax(scale(TEACHER) / temperature)
    cross_entropy = -(t * np.log(s)).sum(axis=1).mean() * temperature**2
    divergence = (t * np.log(t / s)).sum(axis=1).mean() * temperature**2
    soft_ce = soft_term(STUDENT, TEACHER, "soft_ce", temperature, standardise)
    kl = soft_term(STUDENT, TEACHER, "kl", temperature, standardise)
    assert float(soft_ce.total) == pytest.approx(cross_entropy, rel=1e-6)
    assert float(kl.total) == pytest.approx(divergence, rel=1e-6)
    for terms in (soft_ce, kl):
        assert float(terms.parts["loss_kd"]) == float(terms.total)
        assert float(terms.parts["loss_kl"]) == pytest.approx(divergence, rel=1e-6)


@pytest.mark.parametrize("standardise", [False, True])
def test_both_kinds_have_one_gradient(standardise: bool) -> None:
    gradients = []
    kinds: tuple[LogitLoss, ...] = ("soft_ce", "kl")
    for kind in kinds:
        logits = torch.from_numpy(STUDENT).requires_grad_()
        total = soft_term(logits, TEACHER, kind, standardise_logits=standardise).total
        gradients.append(torch.autograd.grad(total, logits)[0])
    torch.testing.assert_close(*gradients)


@pytest.mark.parametrize("kind", ["soft_ce", "kl"])
@pytest.mark.parametrize("standardise", [False, True])
def test_gradients_are_right(kind: LogitLoss, standardise: bool) -> None:
    logits = torch.from_numpy(STUDENT).requires_grad_()
    assert torch.autograd.gradcheck(
        lambda x: soft_term(x, TEACHER, kind, standardise_logits=standardise).total, logits
    )


def test_standardised_logits_are_compared_without_their_size_and_place() -> None:
    larger = 10 * STUDENT + np.arange(6).reshape(6, 1)
    parts = soft_term(larger, STUDENT, "kl", standardise_logits=True).parts
    assert float(parts["loss_kd"]) == pytest.approx(0, abs=1e-9)
    assert float(soft_term(larger, STUDENT, "kl").total) > 0.1


def test_logits_without_variance_have_a_finite_gradient() -> None:
    logits = torch.zeros(3, 5, requires_grad=True)
    soft_term(logits, TEACHER[:3], "kl", standardise_logits=True).total.backward()
    assert logits.grad is not None
    assert logits.grad.isfinite().all()


def test_standardising_leaves_the_cross_entropy_with_the_labels_alone() -> None:
    def ce(standardise: bool) -> float:
        terms = distillation_loss(
            torch.from_numpy(STUDENT),
            torch.arange(6) % 5,
            torch.from_numpy(TEACHER),
            {},
            {},
            alpha=1.0,
            beta={},
            temperature=2.0,
            standardise_logits=standardise,
        )
        return float(terms.parts["loss_ce"])

    assert ce(True) == ce(False)


def test_an_unknown_kind_is_an_error_that_names_those_there_are() -> None:
    with pytest.raises(UserError, match=r"unknown logit_loss 'softce' \(allowed: kl, soft_ce;"):
        soft_term(STUDENT, TEACHER, "softce")  # type: ignore[arg-type]
