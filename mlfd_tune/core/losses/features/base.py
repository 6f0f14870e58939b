"""What a feature loss is, and the registry of their kinds."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import ClassVar, final

from torch import Tensor

from mlfd_tune.core.losses.precision import full_precision, without_autocast
from mlfd_tune.core.models.student_adaptors import Compares
from mlfd_tune.core.registry import Registry

__all__ = ["FEATURE_LOSSES", "Compares", "FeatureLoss"]


class FeatureLoss(ABC):
    """A distance of a student's features at one level from the target's, a scalar.

    A kind is a subclass that says what it `compares` and has `compute`, with a constructor that
    needs no argument.
    """

    compares: ClassVar[Compares]
    """What must agree: ``elements`` the whole shapes; ``positions`` images, height and width, while
    channels may differ; ``samples`` only the number of images."""

    takes_vectors: ClassVar[bool] = True
    """Whether the kind compares vectors ``(N, C)`` as well as maps ``(N, C, H, W)``."""

    @abstractmethod
    def compute(self, student: Tensor, target: Tensor) -> Tensor:
        """Return the loss, a scalar that is 0 where student and target agree.

        Args:
            student: ``(N, C)`` or ``(N, C, H, W)``, float32 or float64, outside of autocast.
            target: In the student's precision, without gradient, of a shape that `mismatch` passes.
        """

    @final
    def __call__(self, student: Tensor, target: Tensor) -> Tensor:
        """Return the loss, computed in float32, or in float64 where the student is.

        Args:
            student: ``(N, C)`` or ``(N, C, H, W)``.
            target: The same, as far as the kind `compares` it. No gradient reaches it.

        Raises:
            ValueError: When the two cannot be compared.
        """
        mismatch = self.mismatch(student.shape, target.shape)
        if mismatch:
            raise ValueError(mismatch)
        with without_autocast(student):
            student = full_precision(student)
            return self.compute(student, target.detach().to(dtype=student.dtype))

    @final
    @classmethod
    def mismatch(cls, student: Sequence[int], target: Sequence[int]) -> str | None:
        """Say why features of these shapes cannot be compared; None if they can.

        Args:
            student: Shape of the student's features, images included.
            target: Shape of the target.
        """
        if not cls.takes_vectors and not len(student) == len(target) == 4:
            vector = student if len(student) != 4 else target
            return f"the feature loss compares maps (N, C, H, W) only, not {tuple(vector)}"
        agree = {
            "elements": tuple(student) == tuple(target),
            "positions": (student[0], *student[2:]) == (target[0], *target[2:]),
            "samples": student[0] == target[0],
        }
        if agree[cls.compares]:
            return None
        return (
            f"the target has shape {tuple(target)}, the student {tuple(student)}; "
            f"{_MUST_AGREE[cls.compares]} must be equal"
        )


_MUST_AGREE: dict[Compares, str] = {
    "elements": "they",
    "positions": "images, height and width",
    "samples": "the numbers of images",
}

FEATURE_LOSSES: Registry[type[FeatureLoss]] = Registry(
    "feature loss",
    "mlfd_tune.losses",
    lambda kind: isinstance(kind, type) and issubclass(kind, FeatureLoss),
)
"""Every kind of feature loss by its name."""
