"""What a method is, and the registry of all."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator
from typing import TYPE_CHECKING, ClassVar, Literal

from mlfd_tune.core.registry import Registry

if TYPE_CHECKING:  # both are made of methods' names
    from mlfd_tune.core.pipeline import Pipeline
    from mlfd_tune.core.settings import PipelineSettings
    from mlfd_tune.core.stages import TrialStage

__all__ = ["METHODS", "Method", "Role"]

Role = Literal["method", "baseline", "control", "reference"]


class Method(ABC):
    """One way to teach a student. It has no state: everything is in the settings.

    Attributes:
        description: One line for people.
        role: `method` competes; a `baseline` learns without distillation; a `control` distils
            without what a method is about; a `reference` is no student at all, but what students
            learn from, measured itself. Only methods are exported as best.
        sections: The sections of the settings that matter to it, beside datasets and students.
    """

    description: ClassVar[str]
    role: ClassVar[Role] = "method"
    sections: ClassVar[tuple[str, ...]] = ()

    @abstractmethod
    def student(self, pipeline: Pipeline, target: str, seed: int) -> TrialStage:
        """Return the stage that trains `target`'s student with `seed`, and all it stands on."""

    def teacher_levels(self, settings: PipelineSettings) -> tuple[str, ...]:
        """Return the levels that every teacher must have."""
        return ()

    def student_levels(self, settings: PipelineSettings) -> tuple[str, ...]:
        """Return the levels that every student must have."""
        return ()

    def problems(self, settings: PipelineSettings) -> Iterator[str]:
        """Yield what only shows when settings meet, one line each, with its key.

        Called when every architecture is known to have the levels asked for.
        """
        yield from ()


def _is_method(kind: object) -> bool:
    return isinstance(kind, type) and issubclass(kind, Method)


METHODS: Registry[type[Method]] = Registry("method", "mlfd_tune.methods", _is_method)
"""Every method by its name."""
