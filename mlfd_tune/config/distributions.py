"""Distributions: the values one key of a search space may take, and what it depends on."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from typing import Annotated, Any

from pydantic import Discriminator, Field, Tag, field_validator, model_validator

from mlfd_tune.core.spec import Spec

__all__ = ["Choice", "Distribution", "FloatRange", "IntRange", "choice_text"]

# Beyond this not every whole number is a float, and samplers reckon with floats.
_LARGEST_WHOLE = 2**53

# The fields below are named as in YAML, so `float` and `int` need other names inside the classes.
Real = float
Whole = int
RealBounds = tuple[float, float]
WholeBounds = tuple[int, int]


class Condition(Spec):
    """What every kind of distribution shares."""

    when: dict[str, tuple[Any, ...]] = Field(
        default={},
        description="Other parameters and the values of theirs that switch this one on; "
        "all must hold.",
    )

    @field_validator("when", mode="before")
    @classmethod
    def _one_value_is_a_list_of_one(cls, value: Any) -> Any:
        if not isinstance(value, Mapping):
            return value
        return {k: v if isinstance(v, list | tuple) else (v,) for k, v in value.items()}


class FloatRange(Condition):
    """A real number between two bounds, both included."""

    float: RealBounds = Field(description="Lowest and highest value.")
    log: bool = Field(default=False, description="Sample on a logarithmic scale.")
    step: Real | None = Field(default=None, gt=0, description="Distance between allowed values.")

    @model_validator(mode="after")
    def _check(self) -> FloatRange:
        _check_bounds(*self.float, log=self.log)
        if self.step is not None:
            _check_step(*self.float, step=self.step, log=self.log)
        return self

    def contains(self, value: Any) -> bool:
        """Tell whether `value` can be drawn."""
        low, high = self.float
        if isinstance(value, bool) or not isinstance(value, Real | Whole):
            return False
        return low <= value <= high and (self.step is None or _on_step(value - low, self.step))

    def allowed(self) -> str:
        """Phrase what can be drawn."""
        low, high = self.float
        return f"{low:g} to {high:g}" + (f" in steps of {self.step:g}" if self.step else "")

    def values(self) -> list[Any]:
        """Return every value that can be drawn.

        Raises:
            ValueError: If there is no `step`.
        """
        if self.step is None:
            raise ValueError("a float without a step has no list of values")
        low, high = self.float
        steps = round((high - low) / self.step)
        return [round(low + i * self.step, 12) for i in range(steps + 1)]


class IntRange(Condition):
    """A whole number between two bounds, both included."""

    int: WholeBounds = Field(description="Lowest and highest value.")
    log: bool = Field(default=False, description="Sample on a logarithmic scale.")
    step: Whole = Field(default=1, ge=1, description="Distance between allowed values.")

    @model_validator(mode="after")
    def _check(self) -> IntRange:
        if max(abs(bound) for bound in (*self.int, self.step)) > _LARGEST_WHOLE:
            raise ValueError(f"whole numbers are searched up to {_LARGEST_WHOLE} only")
        _check_bounds(*self.int, log=self.log)
        if self.step != 1:
            _check_step(*self.int, step=self.step, log=self.log)
        return self

    def contains(self, value: Any) -> bool:
        """Tell whether `value` can be drawn."""
        return type(value) is Whole and value in self._range()

    def allowed(self) -> str:
        """Phrase what can be drawn."""
        low, high = self.int
        return f"{low} to {high}" + (f" in steps of {self.step}" if self.step > 1 else "")

    def values(self) -> list[Any]:
        """Return every value that can be drawn."""
        return list(self._range())

    def _range(self) -> range:
        return range(self.int[0], self.int[1] + 1, self.step)


class Choice(Condition):
    """One of some values: text, numbers, true, false, null, or lists of these."""

    choice: tuple[Any, ...] = Field(min_length=1, description="The values to choose from.")

    @model_validator(mode="after")
    def _check(self) -> Choice:
        for value in self.choice:
            items = value if isinstance(value, list | tuple) else [value]
            if not all(item is None or isinstance(item, str | Real | Whole) for item in items):
                raise ValueError(f"{value!r} is not text, a number, true, false, null or a list")
        texts = [choice_text(value) for value in self.choice]
        twice = sorted({repr(text) for text in texts if texts.count(text) > 1})
        if twice:
            raise ValueError(f"the same value is listed twice: {', '.join(twice)}")
        return self

    def contains(self, value: Any) -> bool:
        """Tell whether `value` can be drawn."""
        return choice_text(value) in [choice_text(item) for item in self.choice]

    def allowed(self) -> str:
        """Phrase what can be drawn."""
        return "one of " + ", ".join(str(choice_text(item)) for item in self.choice)

    def values(self) -> list[Any]:
        """Return every value that can be drawn."""
        return [list(item) if isinstance(item, tuple) else item for item in self.choice]


def _kind(value: Any) -> str | None:
    kinds = [name for name in ("float", "int", "choice") if _has(value, name)]
    return kinds[0] if len(kinds) == 1 else None


def _has(value: Any, name: str) -> bool:
    return name in value if isinstance(value, Mapping) else hasattr(value, name)


Distribution = Annotated[
    Annotated[FloatRange, Tag("float")]
    | Annotated[IntRange, Tag("int")]
    | Annotated[Choice, Tag("choice")],
    Discriminator(
        _kind,
        custom_error_type="search_space_kind",
        custom_error_message="expected one of {float: [low, high]}, {int: [low, high]}, "
        "{choice: [values]}",
    ),
]


def choice_text(value: Any) -> Any:
    """Return `value`, or its JSON text if it is a list: a form Optuna stores and can compare."""
    return json.dumps(list(value)) if isinstance(value, list | tuple) else value


def _check_bounds(low: float, high: float, *, log: bool) -> None:
    if not (math.isfinite(low) and math.isfinite(high)):
        raise ValueError(f"bounds must be finite, got [{low:g}, {high:g}]")
    if low >= high:
        raise ValueError(f"the first bound must be below the second, got [{low:g}, {high:g}]")
    if log and low <= 0:
        raise ValueError(f"log needs bounds above 0, got [{low:g}, {high:g}]")


def _check_step(low: float, high: float, *, step: float, log: bool) -> None:
    if log:
        raise ValueError("log and step cannot be combined")
    if not _on_step(high - low, step):
        raise ValueError(f"[{low:g}, {high:g}] cannot be divided into steps of {step:g}")


def _on_step(distance: float, step: float) -> bool:
    steps = distance / step
    return math.isfinite(steps) and math.isclose(steps, round(steps), abs_tol=1e-9)
