"""Checking a file against its schema, so that all of its mistakes are told at once.

Validators that look at a whole section run only when each of its keys is in order. So what is wrong
is noted, taken out of a copy, and the copy is checked again, until nothing new is found.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any

from pydantic import ValidationError

from mlfd_tune.config.messages import Location, Problem, in_words
from mlfd_tune.config.schema import ExperimentConfig
from mlfd_tune.config.search import SearchSettings
from mlfd_tune.config.varied import problems_of_varied_keys

__all__ = ["problems_of"]

_PASSES = 8  # sections lie at most a few levels deep

# What stands below these is named elsewhere in the section: taking it out would only make new
# problems there.
_REFERRED_TO = (("search", "space"), ("search", "datasets"), ("design", "factors"))


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
    """Return what a sweep's search lacks for its targets, or says of datasets that are not there.

    Here and not in the schema, so that it is told whatever else is wrong.
    """
    datasets, targets = raw.get("datasets"), raw.get("targets")
    if "search" not in raw or not isinstance(datasets, Mapping):
        return []
    try:
        search = SearchSettings.model_validate(raw["search"])
    except ValidationError:  # told by the schema
        return []
    named = targets if isinstance(targets, list) else list(datasets)
    known = [name for name in named if isinstance(name, str) and name in datasets]
    found = [line.partition(": ") for line in search.problems_with(datasets, known)]
    return [Problem(tuple(key.split(".")), text) for key, _, text in found]


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
