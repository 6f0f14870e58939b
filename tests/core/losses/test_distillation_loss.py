"""Eq. 3 against an independent statement of it in NumPy."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from mlfd_tune.core.errors import UserError
from mlfd_tune.core.losses import (
    FEATURE_LOSSES,
    LossTerms,
    cross_entropy_terms,
    distillation_loss,
)

Array = NDArray[np.float64]
LEVELS = {"embedding": (6,), "stride32": (4, 2, 3), "stride16": (3, 4, 4), "stride8": (2, 5, 5)}


def eq3(case: dict[str, Any]) -> dict[str, float]:
    """Eq. 3 in float64 NumPy, term by term."""

    def softmax(x: Array) -> Array:
        powers = np.exp(x - x.max(axis=1, keepdims=True))
        return powers / powers.sum(axis=1, keepdims=True)

    n, k = case["logits"].shape
    smoothing, t = case["label_smoothing"], case["temperature"]
    one_hot = np.eye(k)[case["labels"]] * (1 - smoothing) + smoothing / k
    student_t, teacher_t = softmax(case["logits"] / t), softmax(case["target_logits"] / t)
    terms = {
        "loss_ce": -(one_hot * np.log(softmax(case["logits"]))).sum() / n,
        "loss_kd": -(teacher_t * np.log(student_t)).sum() / n * t**2,
        "loss_kl": (teacher_t * np.log(teacher_t / student_t)).sum() / n * t**2,
    }
    for level in case["beta"]:
        error = case["features"][level] - case["target_features"][level]
        terms[f"loss_level/{level}"] = (error**2).sum() / error.size
    terms["loss"] = (
        case["ce_weight"] * terms["loss_ce"]
        + case["alpha"] * terms["loss_kd"]
        + sum(weight * terms[f"loss_level/{level}"] for level, weight in case["beta"].items())
    )
    return terms


def draw_case(seed: int, images: int, classes: int, levels: list[str], **weights: Any) -> Any:
    random = np.random.default_rng(seed)
    case: dict[str, Any] = {
        "logits": random.normal(0, 3, (images, classes)),
        "labels": random.integers(0, classes, images),
        "target_logits": random.normal(0, 3, (images, classes)),
        "features": {name: random.normal(0, 2, (images, *LEVELS[name])) for name in levels},
        "target_features": {name: random.normal(1, 2, (images, *LEVELS[name])) for name in levels},
    }
    settings = {"alpha": 0.6, "beta": dict.fromkeys(levels, 0.2), "temperature": 2.0}
    return case | settings | {"ce_weight": 1.0, "label_smoothing": 0.0} | weights


def loss_of(case: dict[str, Any], dtype: torch.dtype = torch.float64) -> LossTerms:
    def tensor(value: Any) -> Any:
        if isinstance(value, dict):
            return {name: tensor(item) for name, item in value.items()}
        return value if value is None else torch.from_numpy(value).to(dtype)

    tensors = ("logits", "target_logits", "features", "target_features")
    inputs = {name: tensor(case[name]) for name in tensors}
    labels = None if case["labels"] is None else torch.from_numpy(case["labels"])
    rest = {name: value for name, value in case.items() if name not in (*tensors, "labels")}
    return distillation_loss(labels=labels, **inputs, **rest)


weight = st.one_of(st.just(0.0), st.floats(0.001, 10))
cases = st.builds(
    lambda seed, images, classes, betas, **weights: draw_case(
        seed, images, classes, list(betas), beta=betas, **weights
    ),
    seed=st.integers(0, 2**32 - 1),
    images=st.integers(1, 8),
    classes=st.integers(2, 12),
    betas=st.dictionaries(st.sampled_from(sorted(LEVELS)), weight),
    alpha=weight,
    temperature=st.floats(0.5, 20),
    ce_weight=st.floats(0.01, 5),
    label_smoothing=st.floats(0, 0.5),
)


@given(case=cases)
@settings(deadline=None)
def test_the_loss_and_each_of_its_terms_are_those_of_equation_3(case: dict[str, Any]) -> None:
    terms = loss_of(case)
    expected = eq3(case)
    assert set(terms.parts) == set(expected)
    for name, value in expected.items():
        assert float(terms.parts[name]) == pytest.approx(value, rel=1e-6, abs=1e-6), name
    assert float(terms.total) == float(terms.parts["loss"])


@given(case=cases)
@settings(deadline=None, max_examples=25)
def test_single_precision_agrees_with_double(case: dict[str, Any]) -> None:
    parts = loss_of(case, torch.float32).parts
    for name, value in eq3(case).items():
        assert float(parts[name]) == pytest.approx(value, rel=1e-4, abs=1e-4), name


@pytest.mark.parametrize("temperature", [0.7, 4.0])
@pytest.mark.parametrize("levels", [[], ["embedding"], list(LEVELS)])
def test_gradients_with_respect_to_logits_and_features_are_right(
    levels: list[str], temperature: float
) -> None:
    case = draw_case(0, 3, 4, levels)
    targets = {name: torch.from_numpy(x) for name, x in case["target_features"].items()}

    def total(logits: Tensor, *features: Tensor) -> Tensor:
        return distillation_loss(
            logits,
            torch.from_numpy(case["labels"]),
            torch.from_numpy(case["target_logits"]),
            dict(zip(levels, features, strict=True)),
            targets,
            alpha=0.6,
            beta=dict.fromkeys(levels, 0.3),
            temperature=temperature,
            ce_weight=0.2,
            label_smoothing=0.1,
        ).total

    inputs = [case["logits"], *(case["features"][level] for level in levels)]
    leaves = tuple(torch.from_numpy(x).requires_grad_() for x in inputs)
    assert torch.autograd.gradcheck(total, leaves)


@given(case=cases)
@settings(deadline=None, max_examples=25)
def test_without_alpha_and_beta_it_is_the_plain_cross_entropy_to_the_bit(
    case: dict[str, Any],
) -> None:
    beta = dict.fromkeys(case["beta"], 0.0)
    terms = loss_of(case | {"alpha": 0.0, "beta": beta, "ce_weight": 1.0}, torch.float32)
    plain = cross_entropy_terms(
        torch.from_numpy(case["logits"]).float(),
        torch.from_numpy(case["labels"]),
        case["label_smoothing"],
    )
    assert torch.equal(terms.total, plain.total)
    assert torch.equal(terms.parts["loss_ce"], plain.parts["loss_ce"])


def test_a_term_of_weight_zero_is_logged_but_has_no_gradient_and_no_nan() -> None:
    case = draw_case(0, 3, 4, ["embedding"], alpha=0.0, beta={"embedding": 0.0})
    features = torch.from_numpy(case["features"]["embedding"]).requires_grad_()
    logits = torch.from_numpy(case["logits"]).requires_grad_()
    terms = distillation_loss(
        logits,
        torch.from_numpy(case["labels"]),
        None,
        {"embedding": features},
        {"embedding": torch.full((3, 6), torch.nan)},
        alpha=0.0,
        beta={"embedding": 0.0},
        temperature=2.0,
    )
    terms.total.backward()
    assert terms.total.isfinite()
    assert features.grad is None
    assert terms.parts["loss_level/embedding"].isnan()
    assert "loss_kd" not in terms.parts


def test_parts_carry_no_gradient_and_no_gradient_reaches_the_targets() -> None:
    case = draw_case(0, 3, 4, ["embedding"])
    target = torch.from_numpy(case["target_logits"]).requires_grad_()
    logits = torch.from_numpy(case["logits"]).requires_grad_()
    terms = distillation_loss(
        logits,
        torch.from_numpy(case["labels"]),
        target,
        {},
        {},
        alpha=1.0,
        beta={},
        temperature=1.0,
    )
    terms.total.backward()
    assert not any(part.requires_grad for part in terms.parts.values())
    assert target.grad is None
    assert logits.grad is not None


def test_the_divergence_of_a_student_that_equals_its_teacher_is_zero() -> None:
    case = draw_case(0, 5, 7, [])
    parts = loss_of(case | {"target_logits": case["logits"]}).parts
    assert float(parts["loss_kl"]) == pytest.approx(0, abs=1e-12)
    assert float(parts["loss_kd"]) > 1


def test_half_precision_inputs_are_summed_in_single_precision() -> None:
    case = draw_case(0, 4, 5, ["stride8"])
    student = torch.full((4, 2, 5, 5), 300.0, dtype=torch.float16)  # its square overflows half
    with torch.autocast("cpu", dtype=torch.bfloat16):
        terms = distillation_loss(
            torch.from_numpy(case["logits"]).bfloat16(),
            torch.from_numpy(case["labels"]),
            torch.from_numpy(case["target_logits"]).half(),
            {"stride8": student},
            {"stride8": torch.zeros(4, 2, 5, 5, dtype=torch.float16)},
            alpha=0.6,
            beta={"stride8": 0.2},
            temperature=2.0,
        )
    assert {part.dtype for part in terms.parts.values()} == {torch.float32}
    assert float(terms.parts["loss_level/stride8"]) == 90000.0


def test_the_plain_cross_entropy_of_half_precision_logits_is_in_single_precision() -> None:
    logits = torch.from_numpy(draw_case(0, 4, 5, [])["logits"]).bfloat16()
    labels = torch.arange(4)
    terms = cross_entropy_terms(logits, labels)
    assert torch.equal(terms.total, F.cross_entropy(logits.float(), labels))


def test_what_is_missing_or_of_another_shape_is_an_error() -> None:
    case = draw_case(0, 3, 4, ["embedding"])
    with pytest.raises(ValueError, match="beta has level 'stride8'"):
        loss_of(case | {"beta": {"stride8": 0.1}})
    with pytest.raises(ValueError, match="embedding: the target has shape"):
        loss_of(case | {"target_features": {"embedding": case["features"]["embedding"][:, :5]}})
    with pytest.raises(ValueError, match="logits: the target has shape"):
        loss_of(case | {"target_logits": case["target_logits"][:, :3]})
    with pytest.raises(ValueError, match="no target logits"):
        distillation_loss(
            torch.zeros(1, 2), torch.zeros(1).long(), None, {}, {}, alpha=1, beta={}, temperature=1
        )
    with pytest.raises(ValueError, match="every weight of the loss is 0"):
        loss_of(case | {"alpha": 0.0, "beta": {}, "ce_weight": 0.0})


def test_by_default_it_is_equation_3_to_the_bit() -> None:
    case = draw_case(0, 7, 5, ["embedding", "stride32"])
    terms = loss_of(case, torch.float32)
    s, t = (torch.from_numpy(case[name]).float() for name in ("logits", "target_logits"))
    soft = -(F.softmax(t / 2, dim=1) * F.log_softmax(s / 2, dim=1)).sum(dim=1).mean() * 2.0**2
    weighted = [1.0 * F.cross_entropy(s, torch.from_numpy(case["labels"])), 0.6 * soft]
    for level in case["beta"]:
        student, target = (
            torch.from_numpy(case[name][level]).float() for name in ("features", "target_features")
        )
        weighted.append(0.2 * F.mse_loss(student, target))
    assert torch.equal(terms.total, torch.stack(weighted).sum())


def test_without_labels_the_student_learns_from_its_teacher_alone() -> None:
    case = draw_case(0, 4, 5, ["embedding"], ce_weight=0.0)
    with_labels = loss_of(case)
    without = loss_of(case | {"labels": None})
    assert torch.equal(without.total, with_labels.total)
    assert set(with_labels.parts) - set(without.parts) == {"loss_ce"}
    with pytest.raises(ValueError, match=r"ce_weight is 0\.2, but there are no labels"):
        loss_of(case | {"labels": None, "ce_weight": 0.2})


def test_features_alone_may_teach() -> None:
    case = draw_case(0, 4, 5, ["embedding"], ce_weight=0.0, alpha=0.0)
    terms = loss_of(case | {"labels": None, "target_logits": None})
    assert set(terms.parts) == {"loss", "loss_level/embedding"}


@pytest.mark.parametrize("name", sorted(FEATURE_LOSSES))
def test_every_feature_loss_serves_at_the_levels_it_can_compare(name: str) -> None:
    levels = list(LEVELS) if FEATURE_LOSSES[name].takes_vectors else ["stride32", "stride8"]
    case = draw_case(0, 5, 4, levels)
    kind = FEATURE_LOSSES[name]
    by_name, by_instance = (loss_of(case | {"feature_loss": loss}) for loss in (name, kind()))
    assert torch.equal(by_name.total, by_instance.total)
    for level in levels:
        student, target = (
            torch.from_numpy(case[name][level]) for name in ("features", "target_features")
        )
        assert torch.equal(by_name.parts[f"loss_level/{level}"], kind()(student, target))


def test_a_feature_loss_that_is_not_known_or_not_for_the_level_is_an_error() -> None:
    case = draw_case(0, 3, 4, ["embedding"])
    with pytest.raises(UserError, match=r"unknown feature loss 'msee'.*did you mean 'mse'"):
        loss_of(case | {"feature_loss": "msee"})
    with pytest.raises(ValueError, match="embedding: the feature loss compares maps"):
        loss_of(case | {"feature_loss": "attention_map"})
