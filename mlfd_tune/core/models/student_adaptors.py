"""Adaptors on the student's side of the feature loss, where its shapes are not the target's."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from torch import Tensor, nn

from mlfd_tune.core.models.adaptors import build_adaptor

__all__ = ["StudentAdaptors"]


class StudentAdaptors(nn.Module):
    """Brings a student's features to the shapes of its targets.

    They are trained with the student and left out of the model that is kept. On the target's side
    a trainable adaptor could make the loss vanish by giving nothing, so there is none there.

    Args:
        student_shapes: The student's shape at each level, ``(C,)`` or ``(C, H, W)``.
        target_shapes: The target's shape at each level.
        levels: The levels that are distilled.
        kind: The adaptor where the shapes differ; where they are equal there is none.

    Raises:
        ModelChoiceError: When the adaptor does not exist or cannot go between two shapes.
    """

    def __init__(
        self,
        student_shapes: Mapping[str, Sequence[int]],
        target_shapes: Mapping[str, Sequence[int]],
        levels: Sequence[str],
        kind: str = "linear",
    ) -> None:
        super().__init__()
        self.adaptors = nn.ModuleDict(
            {
                level: _between(kind, tuple(student_shapes[level]), tuple(target_shapes[level]))
                for level in levels
            }
        )

    def forward(self, features: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Return the adapted features of every distilled level."""
        return {level: adaptor(features[level]) for level, adaptor in self.adaptors.items()}


def _between(kind: str, student: tuple[int, ...], target: tuple[int, ...]) -> nn.Module:
    return nn.Identity() if student == target else build_adaptor(kind, student, target)
