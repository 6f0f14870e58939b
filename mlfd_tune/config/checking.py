"""Checking a file against its schema, so that all of its mistakes are told at once.

Validators that look at a whole section run only when each of its keys is in order. So what is wrong
is noted, taken out of a copy, and the copy is checked again, until nothing new is found.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any

from pydantic import ValidationError

from mlfd_tune.config.design import DesignSettings
from mlfd_tune.config.messages import Location, Problem, in_words
from mlfd_tune.config.schema import ExperimentConfig
from mlfd_tune.config.search import SearchSettings
from mlfd_tune.config.varied import problems_of_varied_keys
from mlfd_tune.core.errors import allowed_values

__all__ = ["problems_of"]

_PASSES = 8  # sections lie at most a few levels deep

# What stands below these is named elsewhere in the section: taking it out would only make new
# problems there.
_REFERRED_TO = (
    ("search", "space"),
    ("search", "datasets"),
    ("design", "factors"),
    ("design", "datasets"),
)

# Sections that may say something of single target datasets.
_OF_TARGETS: dict[str, type[SearchSettings] | type[DesignSettings]] = {
    "search": SearchSettings,
    "design": DesignSettings,
}


def problems_of(raw: Mapping[str, Any], model: type[ExperimentConfig]) -> list[Problem]:
    """Return all that is wrong with an experiment, each problem once.

    Args:
        raw: The experiment as read from YAML.
        model: The schema of its kind.
    """
    found = _repeatedly(raw, model)
    if found:
        # Where a key that must be there is wrong, the whole never gets checked: its parts may.
        shared = {key: value for key, value in raw.items() if key in ExperimentConfig.model_fields}
        found += _repeatedly(shared, ExperimentConfig)
    found += _problems_of_targets(raw)
    found += problems_of_varied_keys(raw, known=found)
    return list(dict.fromkeys(found))


def _problems_of_targets(raw: Mapping[str, Any]) -> list[Problem]:
    """Return what a search or a design lacks for the targets, or says of unknown datasets.

    Here and not in the schema, so that it is told whatever else is wrong.
    """
    datasets, targets = raw.get("datasets"), raw.get("targets")
    if not isinstance(datasets, Mapping):
        return []
    named = targets if isinstance(targets, list) else list(datasets)
    known = [name for name in named if isinstance(name, str) and name in datasets]
    found: list[Problem] = []
    for section, schema in _OF_TARGETS.items():
        if section not in raw:
            continue
        try:
            settings = schema.model_validate(raw[section])
        except ValidationError:  # told by the schema
            found += _unknown_datasets(raw, section)
            continue
        for line in settings.problems_with(datasets, known):
            key, _, text = line.partition(": ")
            found.append(Problem(tuple(key.split(".")), text))
    return found


def _unknown_datasets(raw: Mapping[str, Any], section: str) -> list[Problem]:
    own = raw[section].get("datasets") if isinstance(raw[section], Mapping) else None
    return [
        Problem(
            (section, "datasets", name),
            f"unknown dataset {allowed_values(str(name), raw['datasets'])}",
        )
        for name in (own if isinstance(own, Mapping) else ())
        if name not in raw["datasets"]
    ]


def _repeatedly(raw: Mapping[str, Any], model: type[ExperimentConfig]) -> list[Problem]:
    current = copy.deepcopy(dict(raw))
    found: list[Problem] = []
    settled: set[Location] = set()
    for _ in range(_PASSES):
        try:
            model.model_validate(current)
        except ValidationError as error:
            problems = in_words(error, model, current)
        else:
            break
        fresh = [problem for problem in problems if not _is_below(problem.location, settled)]
        if not fresh:
            break
        found += fresh
        settled |= {_take_out(current, problem.location) for problem in fresh}
    return found


def _take_out(raw: dict[str, Any], location: Location) -> Location:
    """Make one wrong place harmless, and return from where on nothing more is to be said."""
    if location[:2] in _REFERRED_TO:
        raw.pop(str(location[0]), None)
        return location[:1]
    datasets = raw.get("datasets")
    if location[:1] == ("datasets",) and len(location) > 1 and isinstance(datasets, dict):
        datasets[location[1]] = {"source": "digits"}  # other sections refer to it by its name
        return location[:2]
    node, holder, last = raw, raw, None
    for part in location:
        if not isinstance(node, dict):
            break  # an item of a list: the list goes
        if part not in node:
            return location  # it is not there at all, and that is what is wrong
        holder, last, node = node, part, node[part]
    if last is not None:
        del holder[last]
    return location


def _is_below(location: Location, above: set[Location]) -> bool:
    return any(location[:length] in above for length in range(1, len(location) + 1))
