"""How an exported student was trained: its method, its teachers and its settings."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from mlfd_tune.core.methods import METHODS
from mlfd_tune.core.store import Artifact
from mlfd_tune.tracking.model_card_parts import fenced, number, table

__all__ = ["training_lines"]

_TRAINING = ("epochs", "batch_size", "optimizer", "lr", "weight_decay", "schedule")
_OFF = ("None", "False", "0", "0.0")


def training_lines(
    config: Mapping[str, Any], params: Mapping[str, str], artifacts: Mapping[str, Artifact]
) -> Iterator[str]:
    """Yield the method, the teachers, and the settings that matter to the method.

    Args:
        config: Content of the exported configuration.
        params: What was logged of it: only what the method uses.
        artifacts: What the student is made of.
    """
    method = METHODS.get(config["method"])
    yield f"Method `{config['method']}`" + (f": {method.description}." if method else ".")
    teachers = [item.manifest for item in artifacts.values() if item.manifest.stage == "teacher"]
    if teachers:
        yield ""
        yield "Teachers, frozen once trained:"
        yield ""
        yield from table(
            ("dataset", "architecture", "validation top-1, %"),
            [
                (
                    manifest.dataset or "",
                    f"`{manifest.spec['arch']}`",
                    number(manifest.metrics.get("val/acc1")),
                )
                for manifest in sorted(teachers, key=lambda manifest: manifest.label)
            ],
        )
    sections = method.sections if method else ()
    for section in ("student", *(name for name in sections if name != "teachers")):
        found = dict(_settings(params, section))
        if found:
            yield ""
            yield f"`{section}`:"
            yield ""
            yield from fenced([f"{name}: {value}" for name, value in found.items()], "yaml")
    yield ""
    yield "All settings, defaults included, are in the configuration that was exported with this."


def _settings(params: Mapping[str, str], section: str) -> Iterator[tuple[str, str]]:
    """Yield what a section sets; of a training only what is usual, and what is switched on."""
    start = f"{section}."
    for name, value in params.items():
        if not name.startswith(start) or value == "None":
            continue
        key = name.removeprefix(start)
        training = key.removeprefix("train.")
        if training == key or training in _TRAINING or value not in _OFF:
            yield key, value
