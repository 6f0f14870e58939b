"""An ablation's base: settings of another file that stand below the ablation's own."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping
from typing import Any

from mlfd_tune.config.assign import OVERRIDES, discard, open_mapping
from mlfd_tune.core.settings import PipelineSettings

__all__ = ["FRESH_SEEDS", "put_below"]

FRESH_SEEDS = 100
"""How far the seeds of an ablation lie from that of the export it is built around."""


def put_below(own: Mapping[str, Any], base: Mapping[str, Any]) -> dict[str, Any]:
    """Return an ablation's settings with those of its base below them.

    All that decides a student is taken over, and nothing of how the base was run. A key of the
    ablation below ``student`` wins over what the base says for single datasets under ``students``
    too, and one below ``teacher`` over its ``teachers``: an export names every key for every
    dataset. The one student of an export, or of any file of kind ``train``, becomes the target.

    The seed of an export was chosen because it did best. An ablation around it takes seeds that
    lie `FRESH_SEEDS` further on, unless it names its own: on the exported one the base would do
    better than it does.

    Args:
        own: The ablation, as read from YAML.
        base: The base, as read from YAML.
    """
    known = PipelineSettings.model_fields
    merged = copy.deepcopy({key: value for key, value in base.items() if key in known})
    students = merged.get("students")
    target = base.get("target") if base.get("kind") == "train" else None
    if target is not None and "provenance" in base and isinstance(students, dict):
        student = open_mapping(students, target)
        if isinstance(student.get("seed"), int):
            student["seed"] += FRESH_SEEDS
    for general, special in OVERRIDES.items():
        entries = merged.get(special)
        for parts in _leaves(own.get(general)):
            for entry in entries.values() if isinstance(entries, dict) else ():
                discard(entry, parts)
    _put_over(merged, own)
    if target is not None:
        merged.setdefault("targets", [target])
    return merged


def _put_over(below: dict[str, Any], above: Mapping[str, Any]) -> None:
    for key, value in above.items():
        if isinstance(value, Mapping) and key in below:
            _put_over(open_mapping(below, key), value)
        else:
            below[key] = copy.deepcopy(value)


def _leaves(node: Any) -> Iterator[list[str]]:
    """Yield the keys that lead to every value in nested mappings."""
    for key, value in node.items() if isinstance(node, Mapping) else ():
        if isinstance(value, Mapping):
            yield from ([key, *rest] for rest in _leaves(value))
        else:
            yield [key]
