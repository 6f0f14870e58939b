"""Dotted keys: setting ``distillation.alpha`` in a configuration, and one student's settings."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any

from pydantic import ValidationError

from mlfd_tune.config.messages import describe
from mlfd_tune.core.errors import UserError
from mlfd_tune.core.models import LEVELS
from mlfd_tune.core.settings import PipelineSettings

__all__ = ["assign", "settings_for"]

# Per-dataset tables, and the general section whose keys they override.
_OVERRIDES = {"student": "students", "teacher": "teachers"}


def assign(raw: dict[str, Any], key: str, value: Any) -> None:
    """Set a dotted key in nested mappings, making the mappings on the way.

    A number in the way (``distillation.beta: 0.2``) gives place to a mapping.

    Raises:
        UserError: The key has an empty part.
    """
    parts = key.split(".")
    if not all(parts):
        raise UserError(f"{key!r} is not a dotted key such as distillation.alpha")
    node = raw
    for part in parts[:-1]:
        below = node.get(part)
        if not isinstance(below, dict):
            below = node[part] = {}
        node = below
    node[parts[-1]] = copy.deepcopy(value)


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
    known = PipelineSettings.model_fields
    chosen = copy.deepcopy({key: value for key, value in raw.items() if key in known})
    for key, value in parameters.items():
        _spread_beta(chosen, key)
        assign(chosen, key, value)
        section, _, rest = key.partition(".")
        if section in _OVERRIDES:
            table = chosen.get(_OVERRIDES[section]) or {}
            for name in [target] if section == "student" else list(table):
                _discard(table.get(name), rest)
    try:
        return PipelineSettings.model_validate(chosen)
    except ValidationError as error:
        raise UserError(*describe(error, PipelineSettings, chosen)) from None


def _spread_beta(raw: dict[str, Any], key: str) -> None:
    # `beta: 0.5` means 0.5 at every level; setting one level must leave the others at 0.5.
    if not key.startswith("distillation.beta."):
        return
    section = raw.get("distillation")
    if isinstance(section, dict) and isinstance(section.get("beta"), int | float):
        section["beta"] = dict.fromkeys(LEVELS, section["beta"])


def _discard(node: Any, key: str) -> None:
    first, _, rest = key.partition(".")
    if not isinstance(node, dict) or first not in node:
        return
    if rest:
        _discard(node[first], rest)
    else:
        del node[first]
