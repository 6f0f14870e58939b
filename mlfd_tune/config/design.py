"""Which arms an ablation compares, and how many seeds it takes."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from typing import Any, Literal

from pydantic import Field, model_validator

from mlfd_tune.config.messages import ListedError
from mlfd_tune.core.errors import allowed_values
from mlfd_tune.core.spec import Spec

__all__ = ["PARTS", "DesignKind", "DesignSettings", "OwnDesign", "Part", "ResolveSettings"]

DesignKind = Literal["grid", "one_at_a_time", "compare", "leave_one_out", "teacher_subsets"]
Part = Literal["levels", "teachers", "adaptor", "losses", "augmentation"]

PARTS: tuple[Part, ...] = ("levels", "teachers", "adaptor", "losses", "augmentation")

Values = tuple[Any, ...]

# The keys that are for one kind of design and not for another; the first of them is needed.
_KEYS: dict[str, tuple[str, ...]] = {
    "grid": ("factors", "reference"),
    "one_at_a_time": ("factors", "reference"),
    "compare": ("arms",),
    "leave_one_out": ("parts",),
    "teacher_subsets": ("permutations",),
}
_NEEDED = ("factors", "arms")


class OwnDesign(Spec):
    """What one target dataset compares in its own way. What is not said here is as for all."""

    factors: dict[str, Values | None] = Field(
        {},
        description="Factors beside `design.factors`, or in place of the one of the same key; null "
        "leaves that one out.",
    )
    arms: dict[str, dict[str, Any] | None] = Field(
        {},
        description="Arms beside `design.arms`, or in place of the one of the same name; null "
        "leaves that one out.",
    )
    reference: dict[str, Any] = Field(
        {}, description="Values in place of those of `design.reference`."
    )


class DesignSettings(Spec):
    """Which arms an ablation compares."""

    kind: DesignKind = Field(
        "grid",
        description="`grid`: every combination of the factors. `one_at_a_time`: the base, and the "
        "base with one factor changed. `compare`: the arms named. `leave_one_out`: the base, and "
        "the base without one of its parts. `teacher_subsets`: the base with some of its teachers, "
        "which tells what each contributes.",
    )
    base: str | None = Field(
        None,
        description="A file that the arms are built around: a sweep, an ablation or an export. All "
        "of its keys that decide a student stand below the ablation's own.",
    )
    factors: dict[str, Values] = Field(
        {}, description="Dotted configuration keys and the values each takes."
    )
    arms: dict[str, dict[str, Any]] = Field(
        {},
        description="Of `compare`: arms by name, each with its values by dotted key. The first is "
        "the reference.",
    )
    reference: dict[str, Any] = Field(
        {},
        description="The arm the others are compared with; by default each factor's first "
        "value (grid) or the base (one_at_a_time).",
    )
    parts: tuple[Part, ...] = Field(
        PARTS,
        min_length=1,
        description="Of `leave_one_out`: what is dropped, one piece after the other.",
    )
    permutations: int = Field(
        8,
        ge=2,
        multiple_of=2,
        description="Of `teacher_subsets`, with more than 5 teachers: orders of the teachers that "
        "are sampled, each second one the reverse of the one before.",
    )
    datasets: dict[str, OwnDesign] = Field(
        {}, description="Per target dataset: factors, arms and a reference of its own."
    )

    @model_validator(mode="after")
    def _it_has_arms(self) -> DesignSettings:
        needed = _KEYS[self.kind][0]
        problems = list(_not_for(self.kind, self, ""))
        if needed in _NEEDED and not getattr(self, needed):
            if not any(getattr(own, needed) for own in self.datasets.values()):
                problems.append(f"{needed}: this key is needed")
        elif len(self.arms) == 1 and not self.datasets:
            problems.append("arms: there is one only; a comparison needs two or more")
        for key, values in self.factors.items():
            if not values:
                problems.append(f"factors.{key}: needs at least one value")
        problems += [f"reference.{key}: {text}" for key, text in self._reference_problems()]
        for name, own in self.datasets.items():
            problems += self._problems_of(name, own)
        if problems:
            raise ListedError(*problems)
        return self

    def of(self, dataset: str) -> DesignSettings:
        """Return the design of one target dataset, with what it has of its own."""
        own = self.datasets.get(dataset, OwnDesign())
        factors = _merged(self.factors, own.factors)
        reference = {**self.reference, **own.reference}
        values = {name: getattr(self, name) for name in DesignSettings.model_fields} | {
            "factors": factors,
            "arms": _merged(self.arms, own.arms),
            "reference": {key: value for key, value in reference.items() if key in factors},
            "datasets": {},
        }
        return DesignSettings.model_construct(**values)  # checked already

    def problems_with(self, datasets: Collection[str], targets: Collection[str]) -> list[str]:
        """Return what is wrong with this design for an experiment's datasets.

        Args:
            datasets: All there are.
            targets: Those that get a student, and so arms.
        """
        problems = [
            f"design.datasets.{name}: unknown dataset {allowed_values(name, datasets)}"
            for name in self.datasets
            if name not in datasets
        ]
        needed = _KEYS[self.kind][0]
        for target in targets if needed in _NEEDED else ():
            there = getattr(self.of(target), needed)
            where = f"design.datasets.{target}.{needed}"
            if not there:
                problems.append(f"{where}: this key is needed, or design.{needed} for all")
            elif needed == "arms" and len(there) == 1:
                problems.append(f"{where}: there is one only; a comparison needs two or more")
        return problems

    def _reference_problems(self) -> Iterator[tuple[str, str]]:
        """Yield the keys of the reference that are wrong, and what is wrong with them."""
        for key, value in self.reference.items():
            if key not in self.factors:
                # One that targets have of their own may be meant.
                if not any(key in own.factors for own in self.datasets.values()):
                    yield key, f"is not a factor {allowed_values(key, self.factors)}"
                continue
            allowed = [_plain(item) for item in self.factors[key]]
            if self.kind == "grid" and _plain(value) not in allowed:
                shown = allowed_values(str(value), map(str, allowed))
                yield key, f"{value!r} is not a value of the factor {shown}"

    def _problems_of(self, name: str, own: OwnDesign) -> Iterator[str]:
        """Yield what is wrong with the design of one target dataset."""
        at, whole = f"datasets.{name}", self.of(name)
        yield from _not_for(self.kind, own, f"{at}.")
        for table in _NEEDED:
            general = getattr(self, table)
            for key, value in getattr(own, table).items():
                if value is None and key not in general:
                    known = allowed_values(key, general)
                    yield f"{at}.{table}.{key}: there is none of all to leave out {known}"
        for key, values in own.factors.items():
            if values == ():
                yield f"{at}.factors.{key}: needs at least one value, or null to leave it out"
        for key in own.reference:
            if key not in whole.factors:
                known = allowed_values(key, whole.factors)
                yield f"{at}.reference.{key}: is not a factor {known}"
        for key, text in whole._reference_problems():
            if key in own.reference:
                yield f"{at}.reference.{key}: {text}"
            elif key in own.factors:
                yield (
                    f"{at}.factors.{key}: design.reference.{key}: {text}; give the dataset a "
                    "reference of its own"
                )


class ResolveSettings(Spec):
    """Seeds are added until the differences are known closely enough."""

    width: float = Field(
        gt=0,
        description="Largest acceptable full width of the 95 % interval of every paired "
        "difference, in percentage points.",
    )
    batch: int = Field(2, ge=1, description="Seeds added at a time.")
    max_seeds: int = Field(24, ge=2, description="Seeds of every arm at most.")


def _not_for(kind: str, design: Spec, at: str) -> Iterator[str]:
    """Yield the keys that a design has and its kind has not."""
    allowed = _KEYS[kind]
    for key in dict.fromkeys(key for of_kind in _KEYS.values() for key in of_kind):
        field = type(design).model_fields.get(key)
        if key in allowed or field is None or getattr(design, key) == field.default:
            continue
        yield f"{at}{key}: is not for a design of kind {kind!r} (allowed: {', '.join(allowed)})"


def _merged(general: Mapping[str, Any], own: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in {**general, **own}.items() if value is not None}


def _plain(value: Any) -> Any:
    return list(value) if isinstance(value, tuple) else value
