"""Writes the reference of all configuration keys from the schema.

``python -m mlfd_tune.config.reference docs/reference.md`` writes it; without a file it is printed.
"""

from __future__ import annotations

import re
import sys
import types
from collections.abc import Iterator
from dataclasses import dataclass, field
from inspect import cleandoc
from pathlib import Path
from typing import Annotated, Any, Literal, Union, get_args, get_origin

import yaml
from pydantic import BaseModel, RootModel
from pydantic.fields import FieldInfo

from mlfd_tune.config import space
from mlfd_tune.config.distributions import Choice, FloatRange, IntRange
from mlfd_tune.config.schema import (
    AblationConfig,
    ExperimentConfig,
    SweepConfig,
    TrainConfig,
)
from mlfd_tune.core.data import DATASETS
from mlfd_tune.core.data.augmentation import PRESETS
from mlfd_tune.core.losses import FEATURE_LOSSES
from mlfd_tune.core.methods import METHODS
from mlfd_tune.core.models import ADAPTORS, FUSION_DEPTHS, LEVELS
from mlfd_tune.core.registry import Registry

__all__ = ["render"]

_HEAD = """\
# Configuration reference

Generated from the schema by `python -m mlfd_tune.config.reference docs/reference.md`.

A file is YAML and has a `kind`: `sweep` and `ablation` are for `mlfd-tune run`, `train` is for
`mlfd-tune train`. Unknown keys are errors.

* **Include.** `include: other.yaml`, or a list of files, in any mapping puts the keys of other
  files below those that stand beside it. What stands in the including file wins; of two included
  files, the later one.
* **Override.** `--set search.trials=4` sets a key from the command line; the value is YAML:
  `--set 'targets=[digits]'`, `--set store.max_bytes=null`. A key with dots in it, as in a search
  space, is written as it is: `--set 'search.space.distillation.alpha={float: [0, 1]}'`.
* **Paths.** Those of includes and datasets are relative to the file that names them; `store.path`,
  `runs` and a SQLite file are relative to the folder the command is called in.
* **Per dataset.** `teachers.<dataset>` and `students.<dataset>` are merged over `teacher` and
  `student`, key by key.
"""

_VARIED = """\
Search spaces and the factors of an ablation may vary every key of
[what all kinds share](#what-all-kinds-share) that decides a student: `seed`, `image_size`,
`method`, and all keys below `datasets`, `teacher`, `teachers`, `student`, `students`,
`joint_teacher`, `distillation`, `unic`, `multi_dataset` and `method_options`. Each value, and both
ends of each range, is checked before
anything runs. A searched key below `student` wins over what the file says for that dataset under
`students`.
"""


def _built_in(registry: Registry[Any]) -> list[str]:
    """Return the names that are there in every installation."""
    return [name for name in registry if registry.origin(name) is None]


# What the annotations of these fields do not tell.
_ALLOWED = {
    "arch": "a timm model; see `mlfd-tune models list`",
    "adaptor": ", ".join(f"`{name}`" for name in sorted(_built_in(ADAPTORS))),
    "feature_loss": ", ".join(f"`{name}`" for name in sorted(_built_in(FEATURE_LOSSES))),
    "method": ", ".join(f"`{name}`" for name in _built_in(METHODS)),
    "compare": ", ".join(f"`{name}`" for name in _built_in(METHODS)),
    "levels": ", ".join(f"`{name}`" for name in (*FUSION_DEPTHS, *LEVELS)),
    "rungs": ", ".join(f"`{name}`" for name in (*FUSION_DEPTHS, *LEVELS)),
    "hint_level": ", ".join(f"`{name}`" for name in LEVELS),
    "memory_bytes": "such as `500MB`, `20GB`",
    "source": ", ".join(f"`{name}`" for name in _built_in(DATASETS)),
    "augment": f"{', '.join(f'`{name}`' for name in PRESETS)}, or a mapping",
    "max_bytes": "such as `500MB`, `20GB`",
    "beta": "at least 0",
}
_TYPES = {
    "levels": "text or list of text",
    "rungs": "text, list of text or null",
    "max_bytes": "whole number, text or null",
    "memory_bytes": "whole number, text or null",
    "augment": "text or [section](#augmentspec)",
    "beta": "number, or mapping of levels to number",
}
_NAMES: dict[Any, str] = {int: "whole number", float: "number", str: "text", bool: "true or false"}
_BOUNDS = {"ge": "at least", "gt": "above", "le": "at most", "lt": "below"}


@dataclass
class _Section:
    """A table of the reference: the keys of one model, and where they may stand."""

    model: type[BaseModel]
    paths: list[str] = field(default_factory=list)

    @property
    def anchor(self) -> str:
        return self.model.__name__.lower()

    @property
    def title(self) -> str:
        # Inside an entry of `teachers` stands what stands inside `teacher`.
        paths = [path for path in self.paths if "<dataset>." not in path] or self.paths
        return ", ".join(f"`{path}`" for path in paths)


def render() -> str:
    """Return the reference as Markdown."""
    parts = [_HEAD]
    shared = _sections(ExperimentConfig)
    parts += _kind("What all kinds share", ExperimentConfig, shared)
    written = set(shared)
    for kind, model in (
        ("sweep", SweepConfig),
        ("ablation", AblationConfig),
        ("train", TrainConfig),
    ):
        own = {below: s for below, s in _sections(model).items() if below not in written}
        written |= set(own)
        parts += _kind(f"kind: {kind}", model, own, without=ExperimentConfig)
        if model is SweepConfig:
            parts += _search_space()
    return "\n".join(parts).rstrip() + "\n"


def _kind(
    title: str,
    model: type[BaseModel],
    sections: dict[type[BaseModel], _Section],
    without: type[BaseModel] | None = None,
) -> Iterator[str]:
    left_out = without.model_fields if without else {}
    yield f"## {title}\n\n{_summary(model)}\n"
    yield _table(model, [name for name in model.model_fields if name not in left_out])
    for section in sections.values():
        yield f'<a id="{section.anchor}"></a>\n'
        yield f"### {section.title}\n\n{_summary(section.model)}\n"
        yield _table(section.model, list(section.model.model_fields))


def _search_space() -> Iterator[str]:
    yield '<a id="searchspace"></a>\n\n### `search.space`\n'
    yield re.sub(r"(?<!`)``(?!`)", "`", cleandoc(space.__doc__ or "")) + "\n"
    yield _VARIED
    for name, model in (("float", FloatRange), ("int", IntRange), ("choice", Choice)):
        yield f"`{{{name}: ...}}`: {_summary(model)}\n"
        yield _table(model, list(model.model_fields))


def _sections(model: type[BaseModel]) -> dict[type[BaseModel], _Section]:
    """Return the models below a model with the keys that lead to them, in order."""
    found: dict[type[BaseModel], _Section] = {}

    def visit(current: type[BaseModel], path: str) -> None:
        for name, info in current.model_fields.items():
            at = f"{path}{name}"
            for below, inner in _models(info.annotation, at):
                if issubclass(below, RootModel):
                    continue
                found.setdefault(below, _Section(below)).paths.append(inner)
                visit(below, f"{inner}.")

    visit(model, "")
    return found


def _models(annotation: Any, path: str) -> Iterator[tuple[type[BaseModel], str]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation, path
    elif get_origin(annotation) is dict:
        yield from _models(get_args(annotation)[1], f"{path}.<dataset>")
    elif get_origin(annotation) in (Annotated, Union, types.UnionType):
        for part in get_args(annotation):
            yield from _models(part, path)


def _table(model: type[BaseModel], names: list[str]) -> str:
    lines = ["| key | type | default | allowed | meaning |", "| --- | --- | --- | --- | --- |"]
    for name in names:
        info = model.model_fields[name]
        cells = (
            f"`{name}`",
            _TYPES.get(name) or _type(info.annotation),
            _default(info),
            _allowed(name, info),
            info.description or "",
        )
        lines.append("| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |")
    return "\n".join(lines) + "\n"


def _type(annotation: Any) -> str:
    origin, parts = get_origin(annotation), get_args(annotation)
    if annotation in _NAMES:
        return _NAMES[annotation]
    if annotation is type(None):
        return "null"
    if annotation is Any:
        return "any value"
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return f"[section](#{annotation.__name__.lower()})"
    if origin is Annotated:
        return _type(parts[0])
    if origin in (Union, types.UnionType):
        return " or ".join(dict.fromkeys(_type(part) for part in parts))
    if origin is Literal:
        return "text"
    if origin is dict:
        return f"mapping of names to {_type(parts[1])}"
    if origin is tuple:
        if len(parts) == 2 and parts[1] is not Ellipsis:
            return f"two of: {_type(parts[0])}"
        return f"list of {_type(parts[0])}"
    return "text"


def _default(info: FieldInfo) -> str:
    if info.is_required():
        return "needed"
    extra = info.json_schema_extra
    value = info.default
    if isinstance(extra, dict) and "default" in extra:
        value = extra["default"]
    if isinstance(value, BaseModel):
        return ""
    return f"`{_flow(value)}`"


def _flow(value: Any) -> str:
    plain = list(value) if isinstance(value, tuple) else value
    text = yaml.safe_dump(plain, default_flow_style=True, sort_keys=False, width=10_000)
    return text.removesuffix("\n").removesuffix("\n...")


def _allowed(name: str, info: FieldInfo) -> str:
    if name in _ALLOWED:
        return _ALLOWED[name]
    chosen = list(_literals(info.annotation))
    if chosen:
        return ", ".join(f"`{value}`" for value in chosen)
    bounds = [
        f"{words} {getattr(rule, attribute):g}"
        for rule in info.metadata
        for attribute, words in _BOUNDS.items()
        if getattr(rule, attribute, None) is not None
    ]
    return " and ".join(bounds)


def _literals(annotation: Any) -> Iterator[Any]:
    if get_origin(annotation) is Literal:
        yield from get_args(annotation)
    elif get_origin(annotation) in (Annotated, Union, types.UnionType):
        for part in get_args(annotation):
            yield from _literals(part)


def _summary(model: type[BaseModel]) -> str:
    return cleandoc(model.__doc__ or "").split("\n\n")[0].replace("\n", " ")


if __name__ == "__main__":
    if len(sys.argv) > 1:
        Path(sys.argv[1]).write_text(render(), encoding="utf-8")
    else:
        sys.stdout.write(render())
