"""Dotted keys: setting ``distillation.alpha`` in a configuration, and one student's settings."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from typing import Any

from pydantic import ValidationError

from mlfd_tune.config.limits import LONGEST_KEY, MOST_LEVELS
from mlfd_tune.config.messages import in_words
from mlfd_tune.core.data.augmentation import PRESETS
from mlfd_tune.core.errors import UserError
from mlfd_tune.core.models import LEVELS
from mlfd_tune.core.settings import PipelineSettings

__all__ = ["OVERRIDES", "assign", "chosen_for", "discard", "open_mapping", "settings_for"]

OVERRIDES = {"student": "students", "teacher": "teachers"}
"""General sections, and the per-dataset tables whose keys override theirs."""

# Tables whose keys are themselves dotted; None stands for any dataset or arm.
_TABLES: tuple[tuple[str | None, ...], ...] = (
    ("search", "space"),
    ("search", "datasets", None, "space"),
    ("design", "factors"),
    ("design", "reference"),
    ("design", "arms", None),
    ("design", "datasets", None, "factors"),
    ("design", "datasets", None, "reference"),
    ("design", "datasets", None, "arms", None),
)


def assign(raw: dict[str, Any], key: str, value: Any) -> tuple[str, ...]:
    """Set a dotted key in nested mappings, making the mappings on the way.

    A shorthand in the way is written out: with ``distillation.beta: 0.5``, setting
    ``distillation.beta.embedding`` leaves the other levels at 0.5.

    Returns:
        The keys that lead to the value.

    Raises:
        UserError: The key has an empty part, or more parts than any has.
    """
    parts = _parts(raw, key)
    node = raw
    for part in parts[:-1]:
        node = open_mapping(node, part)
    node[parts[-1]] = copy.deepcopy(value)
    return parts


def settings_for(
    raw: Mapping[str, Any], target: str, parameters: Mapping[str, Any]
) -> PipelineSettings:
    """Return the settings of one student: an experiment's, with some keys set.

    A key below ``student`` wins over what the file says for that dataset under ``students``;
    below ``teacher`` it wins over every dataset's entry in ``teachers``.

    Args:
        raw: The experiment as read from YAML.
        target: The student's dataset.
        parameters: Values by dotted key.

    Raises:
        UserError: The result is not a valid configuration; all problems at once.
    """
    chosen = chosen_for(raw, target, parameters)
    try:
        return PipelineSettings.model_validate(chosen)
    except ValidationError as error:
        raise UserError(*map(str, in_words(error, PipelineSettings, chosen))) from None


def chosen_for(
    raw: Mapping[str, Any], target: str, parameters: Mapping[str, Any]
) -> dict[str, Any]:
    """Return what `settings_for` checks, before it is checked."""
    known = PipelineSettings.model_fields
    chosen = copy.deepcopy({key: value for key, value in raw.items() if key in known})
    for key, value in parameters.items():
        assign(chosen, key, value)
        section, _, rest = key.partition(".")
        if section in OVERRIDES:
            table = chosen.get(OVERRIDES[section])
            if isinstance(table, dict):
                for name in [target] if section == "student" else list(table):
                    discard(table.get(name), rest.split("."))
    return chosen


def _parts(raw: Mapping[str, Any], key: str) -> tuple[str, ...]:
    parts = tuple(key.split("."))
    if len(key) > LONGEST_KEY or len(parts) > MOST_LEVELS:
        raise UserError(
            f"a key of {len(key):,} characters and {len(parts)} parts (allowed: up to "
            f"{LONGEST_KEY} and {MOST_LEVELS})"
        )
    if not all(parts):
        raise UserError(f"{key!r} is not a dotted key such as distillation.alpha")
    place = _table_around(parts)
    if not place:
        return parts
    entry = ".".join(parts[len(place) :])
    table: Any = raw
    for part in place:
        table = table.get(part) if isinstance(table, Mapping) else None
    for known in table if isinstance(table, Mapping) else ():
        if entry.startswith(f"{known}."):
            return (*place, known, *entry[len(known) + 1 :].split("."))
    return (*place, entry)


def _table_around(parts: tuple[str, ...]) -> tuple[str, ...]:
    """Return the keys that lead to the table of dotted keys that `parts` leads into, if any."""
    for table in _TABLES:
        begin = parts[: len(table)]
        if len(parts) > len(table) and all(
            name in (None, part) for name, part in zip(table, begin, strict=True)
        ):
            return begin
    return ()


def open_mapping(node: dict[str, Any], part: str) -> dict[str, Any]:
    """Return the mapping at `part`, putting one there where there is none."""
    below = node.get(part)
    if not isinstance(below, dict):
        below = node[part] = _written_out(part, below)
    return below


def _written_out(part: str, shorthand: Any) -> dict[str, Any]:
    if part == "beta" and isinstance(shorthand, int | float):
        return dict.fromkeys(LEVELS, shorthand)
    if part == "augment" and isinstance(shorthand, str):
        return dict(PRESETS.get(shorthand, {}))
    return {}


def discard(node: Any, parts: Sequence[str]) -> None:
    """Take what the keys lead to out of nested mappings, if it is there."""
    first, *rest = parts
    if not isinstance(node, dict) or first not in node:
        return
    if rest:
        discard(open_mapping(node, first), rest)
    else:
        del node[first]
