"""Adaptors on the student's side of the feature loss, where its shapes are not the target's."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal, get_args

from torch import Tensor, nn

from mlfd_tune.core.errors import allowed_values
from mlfd_tune.core.models.adaptors import Alignment, build_adaptor
from mlfd_tune.core.models.errors import ModelChoiceError

__all__ = ["Compares", "StudentAdaptors"]

Compares = Literal["elements", "positions", "samples"]
"""What a feature loss compares, and so what has to agree: `elements`, all of the shape;
`positions`, height and width; `samples`, nothing but the images."""


class StudentAdaptors(nn.Module):
    """Brings a student's features to the shapes that the feature loss asks of them.

    They are trained with the student and left out of the model that is kept. On the target's side
    a trainable adaptor could make the loss vanish by giving nothing, so there is none there.

    Args:
        student_shapes: The student's shape at each level, ``(C,)`` or ``(C, H, W)``.
        target_shapes: The target's shape at each level.
        levels: The levels that are distilled.
        kind: The adaptor where a loss that compares elements meets two shapes; where they are equal
            there is none.
        residual: Whether there is a skip around each adaptor.
        alignment: How maps are brought to the target's height and width.
        compares: What the feature loss compares. For `positions` maps are aligned, and their
            channels left as they are; for `samples` nothing is changed.

    Raises:
        ModelChoiceError: When the adaptor does not exist or cannot go between two shapes.
    """

    def __init__(
        self,
        student_shapes: Mapping[str, Sequence[int]],
        target_shapes: Mapping[str, Sequence[int]],
        levels: Sequence[str],
        kind: str = "linear",
        *,
        residual: bool = False,
        alignment: Alignment = "pool",
        compares: Compares = "elements",
    ) -> None:
        super().__init__()
        if compares not in get_args(Compares):
            allowed = allowed_values(compares, get_args(Compares))
            raise ModelChoiceError(f"a feature loss cannot compare {compares!r} {allowed}")
        self.adaptors = nn.ModuleDict()
        for level in levels:
            student, target = tuple(student_shapes[level]), tuple(target_shapes[level])
            wanted = _wanted(student, target, compares)
            if student == wanted:
                self.adaptors[level] = nn.Identity()
            elif compares == "positions":
                self.adaptors[level] = build_adaptor(
                    "identity", student, wanted, alignment=alignment
                )
            else:
                self.adaptors[level] = build_adaptor(
                    kind, student, wanted, residual=residual, alignment=alignment
                )

    def forward(self, features: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Return the adapted features of every distilled level."""
        return {level: adaptor(features[level]) for level, adaptor in self.adaptors.items()}


def _wanted(
    student: tuple[int, ...], target: tuple[int, ...], compares: Compares
) -> tuple[int, ...]:
    """Return the shape that the student's features are brought to."""
    if compares == "elements":
        return target
    return (student[0], *target[1:]) if compares == "positions" else student
