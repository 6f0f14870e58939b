"""Reading experiment files: YAML, includes, overrides, and all errors at once."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from pydantic import ValidationError

from mlfd_tune.config.assign import assign
from mlfd_tune.config.messages import Location, describe
from mlfd_tune.config.schema import AblationConfig, ExperimentConfig, SweepConfig, TrainConfig
from mlfd_tune.core.errors import UserError, allowed_values

__all__ = ["KINDS", "Loaded", "load_experiment"]

KINDS: dict[str, type[ExperimentConfig]] = {
    "sweep": SweepConfig,
    "ablation": AblationConfig,
    "train": TrainConfig,
}


@dataclass(frozen=True)
class Loaded:
    """An experiment file that was read and checked.

    Attributes:
        config: The checked configuration.
        raw: What was read, includes and overrides merged, before defaults were filled in.
        path: The file.
    """

    config: ExperimentConfig
    raw: dict[str, Any]
    path: Path

    @property
    def name(self) -> str:
        """The experiment's name."""
        return self.config.name or self.path.stem


def load_experiment(path: Path | str, overrides: Sequence[str] = ()) -> Loaded:
    """Read and check an experiment file.

    ``include: other.yaml`` (or a list) in any mapping merges another file's keys under those that
    stand beside it. Paths of datasets and includes are relative to the file that names them.

    Args:
        path: A YAML file with a key ``kind``.
        overrides: ``a.b=value`` texts whose values are YAML.

    Raises:
        UserError: With every problem found.
    """
    path = Path(path)
    reader = _Reader()
    raw = reader.read(path, (), ())
    for text in overrides:
        key, equals, value = text.partition("=")
        if not equals:
            raise UserError(f"--set {text}: expected key=value, such as search.trials=4")
        assign(raw, key.strip(), _parse(value, f"--set {text}"))
        reader.origins[tuple(key.strip().split("."))] = "--set"
    kind = raw.get("kind")
    if kind not in KINDS:
        problem = "this key is needed" if kind is None else f"unknown kind {kind!r}"
        raise UserError(f"{path}: kind: {problem} {allowed_values(str(kind), KINDS)}")
    try:
        config = KINDS[kind].model_validate(raw)
    except ValidationError as error:
        raise UserError(*describe(error, KINDS[kind], raw, reader.origin)) from None
    return Loaded(config, raw, path)


class _Reader:
    """Reads files and remembers which file each key came from."""

    def __init__(self) -> None:
        self.origins: dict[Location, str] = {}

    def origin(self, location: Location) -> str:
        for length in range(len(location), -1, -1):
            found = self.origins.get(location[:length])
            if found:
                return found
        return ""

    def read(self, path: Path, at: Location, above: tuple[Path, ...]) -> dict[str, Any]:
        if path.resolve() in above:
            raise UserError(f"{above[-1]}: include: {path} includes itself")
        if not path.is_file():
            raise UserError(_missing(path, above))
        self.origins.setdefault(at, str(path))
        content = _parse(path.read_text(encoding="utf-8"), str(path))
        if not isinstance(content, dict):
            raise UserError(f"{path}: expected keys and values, found {type(content).__name__}")
        return self._expand(content, path, at, (*above, path.resolve()))

    def _expand(
        self, node: dict[Any, Any], path: Path, at: Location, above: tuple[Path, ...]
    ) -> dict[str, Any]:
        includes = node.pop("include", [])
        merged: dict[str, Any] = {}
        for name in [includes] if isinstance(includes, str) else includes:
            if not isinstance(name, str):
                raise UserError(f"{path}: include: {name!r} is not a path")
            _merge(merged, self.read(path.parent / name, at, above))
        own: dict[str, Any] = {}
        for key, value in node.items():
            location = (*at, str(key))
            self.origins[location] = str(path)
            if isinstance(value, dict):
                value = self._expand(value, path, location, above)
            own[str(key)] = value
        if "path" in own and at[:1] == ("datasets",) and isinstance(own["path"], str):
            own["path"] = str((path.parent / own["path"]).absolute())
        _merge(merged, own)
        return merged


def _merge(below: dict[str, Any], above: Mapping[str, Any]) -> None:
    for key, value in above.items():
        if isinstance(value, dict) and isinstance(below.get(key), dict):
            _merge(below[key], value)
        else:
            below[key] = value


def _missing(path: Path, above: tuple[Path, ...]) -> str:
    names = [file.name for file in path.parent.glob("*.y*ml")] if path.parent.is_dir() else []
    hint = f" {allowed_values(path.name, names)}" if names else ""
    at = f"{above[-1]}: include: " if above else ""
    return f"{at}no such file: {path}{hint}"


def _parse(text: str, where: str) -> Any:
    try:
        return yaml.load(text, Loader=_StrictLoader)
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        line = f", line {mark.line + 1}" if mark else ""
        problem = getattr(error, "problem", None) or str(error)
        raise UserError(f"{where}{line}: not valid YAML: {problem}") from None


class _StrictLoader(yaml.SafeLoader):
    """YAML 1.2 numbers (``1e-3`` is one), and a key that stands twice is an error."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen = set()
        for key_node, _ in node.value:
            key = self.construct_object(key_node, deep=True)
            if isinstance(key, str) and key in seen:
                raise yaml.constructor.ConstructorError(
                    None, None, f"key {key!r} stands twice", key_node.start_mark
                )
            if isinstance(key, str):
                seen.add(key)
        return super().construct_mapping(node, deep)


_StrictLoader.add_implicit_resolver(
    "tag:yaml.org,2002:float",
    re.compile(r"^[-+]?(\d+\.?\d*|\.\d+)([eE][-+]?\d+)?$|^[-+]?\.(inf|Inf|INF)$|^\.(nan|NaN|NAN)$"),
    list("-+0123456789."),
)
