"""How the weight of a term changes over the epochs."""

from __future__ import annotations

import math
from typing import Literal

from pydantic import Field, model_validator

from mlfd_tune.core.spec import Spec

__all__ = ["WeightSchedule"]


class WeightSchedule(Spec):
    """A factor on a weight, such as alpha or a beta, for each epoch.

    A factor that falls to 0 moves the student from its teacher to the labels in the course of
    training: the teacher annealing of Clark et al. ("BAM! Born-Again Multi-Task Networks", ACL
    2019), which is linear. Annealing KD (Jafari et al., EACL 2021) does so in two phases.
    """

    shape: Literal["constant", "linear", "cosine"] = Field(
        "constant", description="How the factor goes from `start` to `end`."
    )
    start: float = Field(1.0, ge=0, description="Factor in the first epoch.")
    end: float = Field(1.0, ge=0, description="Factor in the last epoch.")

    @model_validator(mode="after")
    def _constant_has_one_value(self) -> WeightSchedule:
        if self.shape == "constant" and self.start != self.end:
            raise ValueError(
                f"a constant factor cannot go from {self.start} to {self.end}: give start and end "
                "one value, or a shape that changes (allowed: linear, cosine)"
            )
        return self

    def factor(self, epoch: int, epochs: int) -> float:
        """Return the factor of one epoch: `start` in the first, `end` in the last.

        A training of a single epoch has the factor `start`.

        Args:
            epoch: From 1.
            epochs: How many there are.

        Raises:
            ValueError: When there is no such epoch.
        """
        if not 1 <= epoch <= epochs:
            raise ValueError(f"epoch {epoch} is not one of 1 to {epochs}")
        if self.shape == "constant":
            return self.start
        progress = (epoch - 1) / max(epochs - 1, 1)
        if self.shape == "cosine":
            progress = (1 - math.cos(math.pi * progress)) / 2
        return (1 - progress) * self.start + progress * self.end
