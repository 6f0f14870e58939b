"""Validation errors for people: key, what is wrong, what is allowed, nearest match."""

from __future__ import annotations

import types
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Union, get_args, get_origin

from pydantic import BaseModel, RootModel, ValidationError

from mlfd_tune.core.errors import UserError, allowed_values

__all__ = ["ListedError", "Location", "Problem", "in_words", "short", "shorter"]

Location = tuple[int | str, ...]

_ABSENT = object()

# Characters. What this program says itself is shorter; what a file says may be as long as the file.
_LONGEST_KEY, _LONGEST_TEXT = 400, 1000

# Per-dataset tables, and the general section whose keys are filled into each of their entries.
_GENERAL = {"teachers": "teacher", "students": "student"}

_WORDS = {
    "missing": "this key is needed",
    "model_type": "must be a mapping of keys to values",
    "dict_type": "must be a mapping of keys to values",
    "tuple_type": "must be a list",
    "string_type": "must be text",
    "bool_type": "must be true or false",
    "bool_parsing": "must be true or false",
    "int_type": "must be a whole number",
    "int_parsing": "must be a whole number",
    "int_from_float": "must be a whole number",
    "float_type": "must be a number",
    "float_parsing": "must be a number",
}


class ListedError(UserError, ValueError):
    """Several problems that one validator found, to be shown as a line each."""


@dataclass(frozen=True)
class Problem:
    """One thing that is wrong with a configuration.

    Attributes:
        location: The keys that lead to it.
        text: What is wrong and what is allowed.
    """

    location: Location
    text: str

    @property
    def key(self) -> str:
        """The dotted key."""
        return ".".join(str(part) for part in self.location)

    def __str__(self) -> str:
        key, text = shorter(self.key, _LONGEST_KEY), shorter(self.text, _LONGEST_TEXT)
        return f"{key}: {text}" if self.location else text


def in_words(error: ValidationError, model: type[BaseModel], raw: Any) -> list[Problem]:
    """Return each problem once, where the user wrote it.

    Args:
        error: What pydantic raised.
        model: The schema that was validated against.
        raw: The input.
    """
    found = []
    for details in error.errors():
        location = _where_written(details["loc"], raw)
        for text in _texts(details, model, location):
            found.append(_inside(Problem(location, text), raw))
    return list(dict.fromkeys(found))


def _texts(details: Any, model: type[BaseModel], location: Location) -> Iterable[str]:
    kind, value, context = details["type"], details["input"], details.get("ctx", {})
    if kind == "value_error":
        error = context["error"]
        return error.problems if isinstance(error, UserError) else [str(error)]
    if kind == "extra_forbidden":
        fields = _fields_at(model, location[:-1])
        return [f"unknown key {allowed_values(str(location[-1]), fields)}"]
    if kind == "literal_error":
        allowed = [part.strip(" '") for part in context["expected"].replace(" or ", ",").split(",")]
        return [f"unknown value {short(value)} {allowed_values(str(value), allowed)}"]
    if kind == "search_space_kind":
        return [str(details["msg"])]
    if kind == "missing":
        return [_WORDS[kind]]
    if kind == "too_short":
        if len(value) >= context["min_length"]:  # pydantic counts the items that are in order
            return []
        return [f"needs at least {context['min_length']} (got {short(value)})"]
    text = _WORDS.get(kind) or details["msg"].replace("Input should be", "must be")
    return [f"{text[0].lower()}{text[1:]} (got {short(value)})"]


def short(value: Any) -> str:
    """Return what a value looks like, cut off after 60 characters."""
    return shorter(repr(value), 60)


def shorter(text: str, most: int) -> str:
    """Return a text of at most `most` characters: where it is longer, its middle is left out."""
    if len(text) <= most:
        return text
    kept = most - 3
    return f"{text[: kept - kept // 3]}...{text[len(text) - kept // 3 :]}"


def _where_written(location: Location, raw: Any) -> Location:
    """Return the keys in the user's input for a location of pydantic's.

    What was filled into each of `students` from `student` is wrong in one place only, and so is a
    shorthand that was written out.
    """
    for space in (("search", "space"), ("search", "datasets", *location[2:3], "space")):
        if location[: len(space)] == space:  # the next names a key, the one after its kind
            location = (*location[: len(space) + 1], *location[len(space) + 2 :])
    general = _GENERAL.get(str(location[0])) if len(location) > 2 else None
    if general and not _holds(raw, location) and _holds(raw, (general, *location[2:])):
        location = (general, *location[2:])
    node = raw
    for number, part in enumerate(location):
        below = _step(node, part)
        if below is _ABSENT:
            in_shorthand = node is not None and not isinstance(node, Mapping)
            return location[:number] if in_shorthand else location
        node = below
    return location


def _holds(node: Any, location: Location) -> bool:
    for part in location:
        node = _step(node, part)
        if node is _ABSENT:
            return False
    return True


def _step(node: Any, part: int | str) -> Any:
    in_mapping = isinstance(node, Mapping) and part in node
    in_list = isinstance(node, list | tuple) and isinstance(part, int) and part < len(node)
    return node[part] if in_mapping or in_list else _ABSENT


def _inside(problem: Problem, raw: Any) -> Problem:
    """Move a key that a validator of a whole section named in its text into the location."""
    key, colon, text = problem.text.partition(": ")
    inner = _leading_to(key.split("."), _at(raw, problem.location)) if colon else None
    return problem if inner is None else Problem((*problem.location, *inner), text)


def _at(raw: Any, location: Location) -> Any:
    for part in location:
        raw = _step(raw, part)
    return raw


def _leading_to(parts: Sequence[str], node: Any) -> Location | None:
    """Return the keys that a dotted one stands for, or None where there are none such.

    The keys of some tables have dots themselves.
    """
    if not parts:
        return ()
    for length in range(1, len(parts) + 1):
        key = ".".join(parts[:length])
        if isinstance(node, Mapping) and key in node:
            inner = _leading_to(parts[length:], node[key])
            if inner is not None:
                return (key, *inner)
    return None


def _fields_at(model: type[BaseModel], location: Location) -> list[str]:
    models = [model]
    for part in location:
        below: list[type[BaseModel]] = []
        for candidate in models:
            field = candidate.model_fields.get(str(part))
            if field is not None:
                below += _models_in(field.annotation)
            elif issubclass(candidate, RootModel):
                below += _models_in(candidate.model_fields["root"].annotation)
        models = below or models
    return sorted({name for candidate in models for name in candidate.model_fields})


def _models_in(annotation: Any) -> Iterator[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    elif get_origin(annotation) in (Annotated, Union, types.UnionType, dict, tuple, list):
        for part in get_args(annotation):
            yield from _models_in(part)
