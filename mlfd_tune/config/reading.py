"""Reading YAML files that may include others, remembering which file each key came from."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from mlfd_tune.config.limits import (
    MOST_BYTES,
    MOST_FILES,
    MOST_LEVELS,
    check_document,
    check_levels,
    check_plain,
)
from mlfd_tune.config.messages import Location, short
from mlfd_tune.core.errors import UserError, allowed_values
from mlfd_tune.core.paths import expanded, not_a_file
from mlfd_tune.core.stages.weights import names_a_file

__all__ = ["Reader", "absolute_paths", "parse_json", "parse_yaml", "read_text", "with_text_keys"]


class Reader:
    """Reads files and merges what they include.

    Attributes:
        origins: The file each key stands in, by the keys that lead to it.
    """

    def __init__(self) -> None:
        self.origins: dict[Location, str] = {}
        self._files = 0

    def origin(self, location: Location) -> str:
        """Return the file that a key stands in, or would stand in."""
        for length in range(len(location), -1, -1):
            found = self.origins.get(location[:length])
            if found:
                return found
        return ""

    def read(self, path: Path, at: Location = (), above: tuple[Path, ...] = ()) -> dict[str, Any]:
        """Return the keys and values of a file, its includes merged below them.

        Args:
            path: A YAML file.
            at: The keys that lead to where it is included.
            above: The files that include it, outermost first.

        Raises:
            UserError: A file cannot be read, is not YAML, or includes itself; or there are more
                files or levels than any experiment needs.
        """
        including = f"{above[-1]}: include: " if above else ""
        if os.path.realpath(path) in map(os.path.realpath, above):
            chain = " -> ".join(str(file) for file in (*above, path))
            raise UserError(f"{including}{path} includes itself ({chain})")
        self._files += 1
        if self._files > MOST_FILES:
            raise UserError(f"{including}more than {MOST_FILES} files are included")
        content = parse_yaml(read_text(path, including), str(path))
        if not isinstance(content, dict):
            found = "nothing" if content is None else type(content).__name__
            raise UserError(f"{path}: must hold keys and values (found {found})")
        self.origins.setdefault(at, str(path))
        return self._expand(content, path, at, (*above, path))

    def _expand(
        self, node: dict[Any, Any], path: Path, at: Location, above: tuple[Path, ...]
    ) -> dict[str, Any]:
        check_levels(len(at), str(path))
        merged: dict[str, Any] = {}
        for name in _includes(node, path):
            _merge(merged, self.read(path.parent / name, at, above))
        own: dict[str, Any] = {}
        for key, value in node.items():
            if key == "include":
                continue
            location = (*at, str(key))
            self.origins[location] = str(path)
            if isinstance(value, dict):
                value = self._expand(value, path, location, above)
            own[str(key)] = value
        _absolute(own, at, path.parent)
        _merge(merged, own)
        return merged


def absolute_paths(raw: Mapping[str, Any], folder: Path) -> None:
    """Make the paths of datasets, weights and a base absolute that are relative to `folder`."""
    for section in ("teacher", "design"):
        _absolute(raw.get(section), (section,), folder)
    for section in ("datasets", "teachers"):
        entries = raw.get(section)
        for name, entry in entries.items() if isinstance(entries, dict) else ():
            _absolute(entry, (section, name), folder)


def _absolute(node: Any, at: Location, folder: Path) -> None:
    """Make the path absolute that stands in the mapping at `at`, if it is one that has a path."""
    keys = {
        ("datasets", 2): "path",
        ("teachers", 2): "weights",
        ("teacher", 1): "weights",
        ("design", 1): "base",
    }
    key = keys.get((str(at[0]), len(at))) if at else None
    value = node.get(key) if key and isinstance(node, dict) else None
    if not key or not isinstance(value, str) or (key == "weights" and not names_a_file(value)):
        return
    path = folder / expanded(value)
    node[key] = os.path.abspath(path)  # noqa: PTH100 (resolve would follow links)


def parse_yaml(text: str, where: str) -> Any:
    """Return what a YAML text says.

    Args:
        text: YAML.
        where: What to call the text in messages.

    Raises:
        UserError: It is not valid YAML, or says more than an experiment can.
    """
    try:
        return yaml.load(text, Loader=_StrictLoader)  # a SafeLoader  # nosec B506
    # ValueError: a date such as 2024-99-99; others where a tag is put before what is not of it
    except (yaml.YAMLError, ValueError, TypeError, LookupError, AttributeError) as error:
        raise UserError(f"{where}{_told(error)}") from None


def parse_json(text: str, where: str) -> Any:
    """Return what a JSON text says.

    Raises:
        UserError: It is not valid JSON, or says more than an experiment can.
    """
    try:
        content = json.loads(text)
    except RecursionError:
        raise UserError(f"{where}: more than {MOST_LEVELS} levels") from None
    except ValueError as error:
        raise UserError(f"{where}: not valid JSON: {str(error).splitlines()[0]}") from None
    check_plain(content, where)
    return content


def with_text_keys(node: Any) -> Any:
    """Return nested mappings whose keys are text, as `Reader` reads them."""
    if not isinstance(node, dict):
        return node
    return {str(key): with_text_keys(value) for key, value in node.items()}


def read_text(path: Path, including: str = "") -> str:
    """Return the text of a configuration's file.

    Args:
        path: The file.
        including: What errors begin with, where another file names this one.

    Raises:
        UserError: There is no such file, it is no file of text in UTF-8, or it is too large.
    """
    wrong = not_a_file(path)
    if wrong == "does not exist":
        folder = path.parent
        names = [file.name for file in folder.glob("*.y*ml")] if folder.is_dir() else []
        hint = f" {allowed_values(path.name, names)}" if names else ""
        raise UserError(f"{including}no such file: {path}{hint}")
    if wrong:
        text = "is a folder, not a YAML file" if wrong == "is a folder" else wrong
        raise UserError(f"{including}{path} {text}")
    try:
        with path.open("rb") as file:
            content = file.read(MOST_BYTES + 1)
        if len(content) > MOST_BYTES:
            raise UserError(f"{including}{path} is larger than {MOST_BYTES:,} bytes")
        return content.decode("utf-8")
    except UnicodeDecodeError:
        raise UserError(f"{including}{path} is not a text file in UTF-8") from None
    except OSError as error:
        raise UserError(f"{including}{path} cannot be read: {error.strerror}") from None


def _told(error: Exception) -> str:
    mark, context = getattr(error, "problem_mark", None), getattr(error, "context", None)
    begun = getattr(error, "context_mark", None)
    line = f", line {mark.line + 1}" if mark else ""
    problem = getattr(error, "problem", None) or next(
        iter(str(error).splitlines()), type(error).__name__
    )
    since = f" ({context} that begins in line {begun.line + 1})" if context and begun else ""
    return f"{line}: not valid YAML: {problem}{since}"


def _includes(node: Mapping[Any, Any], path: Path) -> list[str]:
    names = node.get("include", [])
    names = [names] if isinstance(names, str) else names
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise UserError(f"{path}: include: must be a path or a list of paths (got {short(names)})")
    return names


def _merge(below: dict[str, Any], above: Mapping[str, Any]) -> None:
    for key, value in above.items():
        if isinstance(value, dict) and isinstance(below.get(key), dict):
            _merge(below[key], value)
        else:
            below[key] = value


class _StrictLoader(yaml.SafeLoader):
    """YAML 1.2 numbers (``1e-3`` is one), no key twice, and nothing without measure."""

    _levels = 0

    def compose_node(self, parent: yaml.Node | None, index: int) -> yaml.Node | None:
        self._levels += 1
        if self._levels > MOST_LEVELS:
            mark = self.peek_event().start_mark  # type: ignore[no-untyped-call]
            raise yaml.composer.ComposerError(None, None, f"more than {MOST_LEVELS} levels", mark)
        node: yaml.Node | None = super().compose_node(parent, index)
        self._levels -= 1
        return node

    def get_single_node(self) -> yaml.Node | None:
        node: yaml.Node | None = super().get_single_node()
        check_document(node)
        return node

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
