"""What a search space or an ablation varies must exist and take every value it is given.

A misspelt key would otherwise be found by the first trial, after the teachers were trained.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from pydantic import ValidationError

from mlfd_tune.config.assign import chosen_for
from mlfd_tune.config.distributions import Choice, FloatRange, IntRange
from mlfd_tune.config.messages import Location, Problem, in_words
from mlfd_tune.config.space import SearchSpace
from mlfd_tune.core.errors import UserError
from mlfd_tune.core.settings import PipelineSettings

__all__ = ["problems_of_varied_keys"]


def problems_of_varied_keys(raw: Mapping[str, Any], known: Iterable[Problem] = ()) -> list[Problem]:
    """Return what is wrong with the varied keys: unknown ones, and values a key cannot take.

    Ranges are tried at both ends.

    Args:
        raw: The experiment as read from YAML; it may be wrong elsewhere.
        known: What is wrong elsewhere.
    """
    target = _any_target(raw)
    if target is None:
        return []
    known = {*known, *_problems(raw, target, {})}
    found = []
    for place, key, value in [*_searched(raw), *_factors(raw)]:
        student = str(place[2]) if place[1:2] == ("datasets",) else target
        for problem in _problems(raw, student, {key: value}):
            if problem not in known:
                found.append(Problem((*place, key), _told(problem, key, value)))
    return list(dict.fromkeys(found))


def _told(problem: Problem, key: str, value: Any) -> str:
    if problem.text.startswith("unknown key"):
        return problem.text if problem.key == key else f"{problem.key} is an {problem.text}"
    inside = "" if problem.key == key else f"{problem.key}: "
    return f"cannot be {value!r}: {inside}{problem.text.removesuffix(f' (got {value!r})')}"


def _problems(raw: Mapping[str, Any], target: str, parameters: dict[str, Any]) -> list[Problem]:
    try:
        chosen = chosen_for(raw, target, parameters)
        PipelineSettings.model_validate(chosen)
    except ValidationError as error:
        return in_words(error, PipelineSettings, chosen)
    except UserError as error:  # not a dotted key
        return [Problem((), line) for line in error.problems]
    return []


def _searched(raw: Mapping[str, Any]) -> Iterator[tuple[Location, str, Any]]:
    for place, written in _spaces(raw.get("search")):
        try:
            space = SearchSpace.model_validate(written)
        except ValidationError:  # told by the schema
            continue
        for key, distribution in space.ordered():
            for value in _ends(distribution):
                yield place, key, value


def _spaces(search: Any) -> Iterator[tuple[Location, Any]]:
    """Yield the space of all datasets and those that datasets have of their own, as written."""
    if not isinstance(search, Mapping):
        return
    yield ("search", "space"), search.get("space")
    datasets = search.get("datasets")
    for name, own in datasets.items() if isinstance(datasets, Mapping) else ():
        if isinstance(own, Mapping):
            yield ("search", "datasets", str(name), "space"), own.get("space")


def _ends(distribution: FloatRange | IntRange | Choice) -> list[Any]:
    match distribution:
        case FloatRange(float=(low, high)) | IntRange(int=(low, high)):
            return [low, high]
        case Choice():
            return distribution.values()


def _factors(raw: Mapping[str, Any]) -> Iterator[tuple[Location, str, Any]]:
    design = raw.get("design")
    if not isinstance(design, Mapping):
        return
    yield from _of_design(design, ("design",), {})
    general = _mapping(design, "factors")
    datasets = design.get("datasets")
    for name, own in datasets.items() if isinstance(datasets, Mapping) else ():
        if isinstance(own, Mapping):
            at = ("design", "datasets", str(name))
            yield from _of_design(own, at, general)


def _of_design(
    design: Mapping[str, Any], at: Location, general: Mapping[str, Any]
) -> Iterator[tuple[Location, str, Any]]:
    factors = _mapping(design, "factors")
    for key, values in factors.items():
        for value in values if isinstance(values, list) else []:
            yield (*at, "factors"), key, value
    for key, value in _mapping(design, "reference").items():
        if value not in ({**general, **factors}.get(key) or []):
            yield (*at, "reference"), key, value
    for name, params in _mapping(design, "arms").items():
        for key, value in params.items() if isinstance(params, Mapping) else ():
            yield (*at, "arms", str(name)), key, value


def _mapping(section: Mapping[str, Any], key: str) -> Mapping[str, Any]:
    """Return the mapping that stands at a key; an empty one where anything else does."""
    found = section.get(key)
    return found if isinstance(found, Mapping) else {}


def _any_target(raw: Mapping[str, Any]) -> str | None:
    datasets = raw.get("datasets")
    return next(iter(datasets), None) if isinstance(datasets, Mapping) else None
