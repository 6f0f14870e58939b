"""Validation errors for people: key, what is wrong, what is allowed, nearest match."""

from __future__ import annotations

import types
import typing
from collections.abc import Callable, Mapping
from typing import Annotated, Any, Union, get_args, get_origin

from pydantic import BaseModel, RootModel, ValidationError

from mlfd_tune.core.errors import allowed_values

__all__ = ["describe"]

Location = tuple[int | str, ...]


def describe(
    error: ValidationError,
    model: type[BaseModel],
    raw: Any,
    where: Callable[[Location], str] = lambda location: "",
) -> list[str]:
    """Return one line for each problem.

    Args:
        error: What pydantic raised.
        model: The schema that was validated against.
        raw: The input.
        where: Returns the file that a key stands in.
    """
    lines = []
    for problem in error.errors():
        location = _in_input(problem["loc"], raw)
        key = ".".join(str(part) for part in location)
        file = where(location)
        message = _message(problem, model, location)
        lines.append(": ".join(part for part in (file, key, message) if part))
    return list(dict.fromkeys(lines))


def _message(problem: Any, model: type[BaseModel], location: Location) -> str:
    kind, value, context = problem["type"], problem["input"], problem.get("ctx", {})
    if kind == "extra_forbidden":
        fields = _fields_at(model, location[:-1])
        return f"unknown key {allowed_values(str(location[-1]), fields)}"
    if kind == "missing":
        return "this key is needed"
    if kind == "literal_error":
        allowed = [part.strip(" '") for part in context["expected"].replace(" or ", ",").split(",")]
        return f"unknown value {value!r} {allowed_values(str(value), allowed)}"
    if kind == "value_error":
        return str(context["error"])
    if kind == "search_space_kind":
        return str(problem["msg"])
    text = problem["msg"].replace("Input should be", "must be")
    if not text.startswith("must be"):
        text = text[0].lower() + text[1:]
    return f"{text} (got {_short(value)})"


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "..."


def _in_input(location: Location, raw: Any) -> Location:
    """Drop the parts of pydantic's location that name branches of unions, not keys."""
    found: list[int | str] = []
    node = raw
    for number, part in enumerate(location):
        is_last = number == len(location) - 1
        if isinstance(node, Mapping):
            if part in node:
                node = node[part]
            elif not is_last:
                continue
            found.append(part)
        elif isinstance(node, list | tuple) and isinstance(part, int):
            node = node[part] if part < len(node) else None
            found.append(part)
    return tuple(found)


def _fields_at(model: type[BaseModel], location: Location) -> list[str]:
    models = [model]
    for part in location:
        below = []
        for candidate in models:
            field = candidate.model_fields.get(str(part))
            if field is not None:
                below += _models_in(field.annotation)
            elif issubclass(candidate, RootModel):
                below += _models_in(candidate.model_fields["root"].annotation)
        models = below or models
    return sorted({name for candidate in models for name in candidate.model_fields})


def _models_in(annotation: Any) -> list[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    if get_origin(annotation) in (Annotated, Union, types.UnionType, dict, tuple, list):
        return [model for part in get_args(annotation) for model in _models_in(part)]
    if isinstance(annotation, typing.TypeAliasType if hasattr(typing, "TypeAliasType") else ()):
        return _models_in(annotation.__value__)
    return []
