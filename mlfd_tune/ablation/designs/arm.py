"""What an arm is, and how it is named after what it changes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

__all__ = ["Arm", "name_of", "plain"]


@dataclass(frozen=True)
class Arm:
    """One arm of an ablation.

    Attributes:
        name: What tells it from the others, such as ``levels=L1, alpha=0.6``.
        params: Values by dotted key, over the experiment's own.
        is_reference: Whether the others are compared with it.
    """

    name: str
    params: Mapping[str, Any]
    is_reference: bool


def name_of(params: Mapping[str, Any]) -> str:
    """Return the name of an arm: its keys, as short as they can be, and their values."""
    # The last part of a key tells factors apart unless two end alike.
    short = [key.rsplit(".", 1)[-1] for key in params]
    keys = short if len(set(short)) == len(short) else list(params)
    return ", ".join(
        f"{key}={_shown(value)}" for key, value in zip(keys, params.values(), strict=True)
    )


def plain(value: Any) -> Any:
    """Return a value as YAML has it."""
    return list(value) if isinstance(value, tuple) else value


def _shown(value: Any) -> str:
    return "+".join(map(str, value)) if isinstance(value, list) else str(value)
