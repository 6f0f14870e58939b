"""Frozen, hashable settings: the base of every stage's spec, and the canonical hash of it."""

from __future__ import annotations

import hashlib
import json
from typing import Any, ClassVar

from pydantic import BaseModel, ConfigDict

__all__ = ["Spec", "canonical_json", "content_hash"]


class Spec(BaseModel):
    """A frozen settings model. Unknown keys and numbers that are not finite are errors.

    Equal settings have equal hashes.

    Attributes:
        added_later: Fields that came after artifacts were made without them. At their default,
            which is what those artifacts were made with, they are left out of the hash.
    """

    added_later: ClassVar[frozenset[str]] = frozenset()

    model_config = ConfigDict(
        frozen=True, extra="forbid", validate_default=True, allow_inf_nan=False
    )


def canonical_json(value: Any) -> str:
    """Return one JSON text for equal values: sorted keys, no spaces, shortest float form.

    Args:
        value: JSON types, pydantic models, tuples and sets of strings.

    Raises:
        ValueError: For NaN or infinity, which have no JSON form.
    """
    return json.dumps(_plain(value), sort_keys=True, separators=(",", ":"), allow_nan=False)


def content_hash(value: Any) -> str:
    """Return the sha256 of `canonical_json(value)` as 64 hex digits."""
    return hashlib.sha256(canonical_json(value).encode()).hexdigest()


def _plain(value: Any) -> Any:
    if isinstance(value, Spec):
        named = {name: getattr(value, name) for name in type(value).model_fields}
        return {
            name: _plain(item)
            for name, item in named.items()
            if name not in value.added_later or item != type(value).model_fields[name].get_default()
        }
    if isinstance(value, BaseModel):
        return _plain(value.model_dump(mode="json"))
    if isinstance(value, dict):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if isinstance(value, set | frozenset):
        return sorted(_plain(item) for item in value)
    if isinstance(value, float):
        return value + 0.0  # -0.0 equals 0.0, and becomes it
    return value
