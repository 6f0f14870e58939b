"""Student adaptors: only where the student's shape is not the target's."""

from __future__ import annotations

import pytest
import torch

from mlfd_tune.core.errors import UserError
from mlfd_tune.core.models import StudentAdaptors

STUDENT = {"embedding": (16,), "stride32": (16, 2, 2), "stride16": (8, 4, 4)}
FEATURES = {level: torch.ones(3, *shape) for level, shape in STUDENT.items()}


def test_equal_shapes_pass_as_they_are_without_parameters() -> None:
    adaptors = StudentAdaptors(STUDENT, STUDENT, tuple(STUDENT), kind="conv3x3")
    assert not list(adaptors.parameters())
    assert adaptors(FEATURES) == FEATURES


@pytest.mark.parametrize("kind", ["linear", "pointwise"])
def test_other_shapes_are_brought_to_the_target(kind: str) -> None:
    targets = {"embedding": (24,), "stride32": (24, 1, 1), "stride16": (8, 4, 4)}
    adaptors = StudentAdaptors(STUDENT, targets, ("embedding", "stride32"), kind=kind)
    adapted = adaptors(FEATURES)
    assert {level: tuple(x.shape[1:]) for level, x in adapted.items()} == {
        "embedding": (24,),
        "stride32": (24, 1, 1),
    }


def test_an_adaptor_that_cannot_bridge_the_shapes_is_an_error() -> None:
    with pytest.raises(UserError, match="maps only"):
        StudentAdaptors(STUDENT, {"embedding": (24,)}, ("embedding",), kind="conv3x3")
    with pytest.raises(UserError, match="did you mean 'linear'"):
        StudentAdaptors(STUDENT, {"embedding": (24,)}, ("embedding",), kind="liner")
