"""Student adaptors: only where the student's shape is not what the feature loss asks of it."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn

from mlfd_tune.core.errors import UserError
from mlfd_tune.core.models import ALIGNMENTS, StudentAdaptors

STUDENT = {"embedding": (16,), "stride32": (16, 2, 2), "stride16": (8, 4, 4)}
TARGETS = {"embedding": (24,), "stride32": (24, 1, 1), "stride16": (10, 6, 3)}
GENERATOR = torch.Generator().manual_seed(0)
FEATURES = {level: torch.randn(3, *shape, generator=GENERATOR) for level, shape in STUDENT.items()}


def adapted_shapes(adaptors: StudentAdaptors) -> dict[str, tuple[int, ...]]:
    return {level: tuple(x.shape[1:]) for level, x in adaptors(FEATURES).items()}


def test_equal_shapes_pass_as_they_are_without_parameters() -> None:
    adaptors = StudentAdaptors(STUDENT, STUDENT, tuple(STUDENT), kind="conv3x3", residual=True)
    assert not list(adaptors.parameters())
    assert adaptors(FEATURES) == FEATURES


@pytest.mark.parametrize("alignment", ALIGNMENTS)
@pytest.mark.parametrize("residual", [False, True])
@pytest.mark.parametrize("kind", ["linear", "pointwise", "bottleneck", "attention", "transformer"])
def test_other_shapes_are_brought_to_the_target(kind: str, residual: bool, alignment: Any) -> None:
    adaptors = StudentAdaptors(
        STUDENT, TARGETS, tuple(STUDENT), kind, residual=residual, alignment=alignment
    )
    assert adapted_shapes(adaptors) == TARGETS
    skips = [name for name, _ in adaptors.named_parameters() if ".skip." in name]
    assert len(skips) == (3 if residual else 0)


def test_levels_that_are_not_distilled_are_left_out() -> None:
    adaptors = StudentAdaptors(STUDENT, TARGETS, ("embedding", "stride32"))
    assert adapted_shapes(adaptors) == {"embedding": (24,), "stride32": (24, 1, 1)}


def test_a_loss_of_positions_has_maps_aligned_and_their_channels_left_alone() -> None:
    # The kind cannot go between these embeddings, which is as well: it is not asked for.
    adaptors = StudentAdaptors(STUDENT, TARGETS, tuple(STUDENT), "conv3x3", compares="positions")
    assert adapted_shapes(adaptors) == {
        "embedding": (16,),
        "stride32": (16, 1, 1),
        "stride16": (8, 6, 3),
    }
    assert not list(adaptors.parameters())
    adapted = adaptors(FEATURES)
    assert torch.equal(adapted["embedding"], FEATURES["embedding"])
    pooled = FEATURES["stride32"].mean(dim=(2, 3), keepdim=True)
    torch.testing.assert_close(adapted["stride32"], pooled)


def test_positions_can_be_aligned_by_learned_convolutions_of_each_channel() -> None:
    adaptors = StudentAdaptors(
        STUDENT, TARGETS, ("stride32",), compares="positions", alignment="strided_conv"
    )
    (weight,) = adaptors.parameters()
    assert tuple(weight.shape) == (16, 1, 3, 3)
    assert adapted_shapes(adaptors) == {"stride32": (16, 1, 1)}


def test_maps_of_equal_size_have_no_adaptor_under_a_loss_of_positions() -> None:
    targets = {"stride32": (24, 2, 2)}
    adaptors = StudentAdaptors(STUDENT, targets, ("stride32",), compares="positions")
    assert isinstance(adaptors.adaptors["stride32"], nn.Identity)


def test_a_loss_of_samples_has_no_adaptors_whatever_the_shapes() -> None:
    targets = {"embedding": (3, 2, 2), "stride32": (5,), "stride16": (1, 9, 9)}
    adaptors = StudentAdaptors(STUDENT, targets, tuple(STUDENT), compares="samples")
    assert not list(adaptors.parameters())
    assert adaptors(FEATURES) == FEATURES


def test_an_adaptor_that_cannot_bridge_the_shapes_is_an_error() -> None:
    with pytest.raises(UserError, match="maps only"):
        StudentAdaptors(STUDENT, TARGETS, ("embedding",), kind="conv3x3")
    with pytest.raises(UserError, match="did you mean 'linear'"):
        StudentAdaptors(STUDENT, TARGETS, ("embedding",), kind="liner")
    with pytest.raises(UserError, match="only scale them"):
        StudentAdaptors(STUDENT, {"stride32": (16, 1, 1)}, ("stride32",), "identity", residual=True)


def test_what_no_loss_compares_is_an_error() -> None:
    compares: Any = "pixels"
    with pytest.raises(UserError, match=r"cannot compare 'pixels' \(allowed: elements, positions"):
        StudentAdaptors(STUDENT, TARGETS, ("embedding",), compares=compares)
