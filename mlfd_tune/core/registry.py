"""Kinds of one concept by name: the built-in ones, and those that installed packages bring."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from functools import cached_property
from importlib.metadata import EntryPoint, entry_points
from typing import Generic, TypeVar, cast

from mlfd_tune.core.errors import UserError, allowed_values

__all__ = ["Registry"]

T = TypeVar("T")


class Registry(Mapping[str, T], Generic[T]):
    """The kinds of one concept, such as every adaptor, by the names that YAML files use.

    Built-in kinds are added by `register`. An installed package brings its own through a Python
    entry point of the group. Its names are known without importing it; it is imported when a kind
    of it is first asked for. What is wrong with it is told then, and disturbs no other kind.

    Args:
        concept: What a kind is, in a person's words: ``adaptor``.
        group: The entry points' group: ``mlfd_tune.adaptors``.
        is_kind: Tells whether what an entry point names is such a kind.
    """

    def __init__(self, concept: str, group: str, is_kind: Callable[[object], bool]) -> None:
        self.concept = concept
        self.group = group
        self._is_kind = is_kind
        self._built_in: dict[str, T] = {}
        self._loaded: dict[str, T] = {}

    def register(self, name: str) -> Callable[[T], T]:
        """Return a decorator that makes a built-in kind known as `name`.

        Raises:
            ValueError: Two kinds have one name, or the kind is not part of this project. What is
                made with it would then be kept under an identity that says nothing of its version.
        """

        def add(kind: T) -> T:
            if not _is_built_in(kind):
                raise ValueError(
                    f"{self.concept} {name!r}: {kind!r} comes from another package, which must "
                    f"name it in an entry point of the group {self.group!r}"
                )
            if name in self._built_in:
                raise ValueError(f"there are two built-in kinds of {self.concept} {name!r}")
            self._built_in[name] = kind
            return kind

        return add

    def __getitem__(self, name: str) -> T:
        """Return the kind called `name`, the built-in one where there is one.

        Raises:
            KeyError: There is none.
            UserError: Its package does not work, or there are two of them.
        """
        if name in self._built_in:
            return self._built_in[name]
        if name not in self._loaded:
            self._loaded[name] = self._load(self._extension(name))
        return self._loaded[name]

    def __contains__(self, name: object) -> bool:
        return name in self._built_in or name in self._extensions

    def __iter__(self) -> Iterator[str]:
        return iter({**self._built_in, **self._extensions})

    def __len__(self) -> int:
        return len(self._built_in.keys() | self._extensions.keys())

    def require(self, name: object) -> T:
        """Return the kind called `name`.

        Raises:
            UserError: There is none, with the names there are; or its package does not work.
        """
        if not isinstance(name, str):
            raise UserError(f"{self._article} {self.concept} is a name, not {name!r}")
        if name not in self:
            raise UserError(f"unknown {self.concept} {name!r} {allowed_values(name, self)}")
        return self[name]

    def origin(self, name: str) -> str | None:
        """Return the package and version a kind comes from; None for the built-in ones.

        Part of the identity of what is computed with it: a new version computes anew.

        Raises:
            UserError: It is not certain which kind is meant, or its package has no version.
        """
        return _package(self._extension(name)) if name in self._extensions else None

    @property
    def _article(self) -> str:
        return "an" if self.concept[0] in "aeiou" else "a"

    @cached_property
    def _extensions(self) -> dict[str, list[EntryPoint]]:
        found: dict[str, list[EntryPoint]] = {}
        for extension in entry_points(group=self.group):
            found.setdefault(extension.name, []).append(extension)
        return found

    def _extension(self, name: str) -> EntryPoint:
        first, *others = self._extensions[name]
        if name in self._built_in:
            raise UserError(
                f"{self.concept} {name!r} of package {_package(first)}: there is a built-in one of "
                "this name; give it another name there"
            )
        if others:
            places = sorted(f"{_package(one)} ({one.value})" for one in (first, *others))
            raise UserError(
                f"{self.concept} {name!r} has more than one entry point: {', '.join(places)}; "
                "remove all but one"
            )
        return first

    def _load(self, extension: EntryPoint) -> T:
        where = f"{self.concept} {extension.name!r} of package {_package(extension)}"
        try:
            kind = extension.load()
        except (Exception, SystemExit) as error:  # somebody else's code may raise anything
            reason = ": ".join([type(error).__name__, *str(error).strip().splitlines()[:1]])
            raise UserError(f"{where}: {extension.value} cannot be imported ({reason})") from error
        if not self._is_kind(kind):
            found = f"{extension.value} is {_described(kind)}"
            raise UserError(f"{where}: {found}, not {self._article} {self.concept} class")
        lacking = ", ".join(_lacking(kind))
        if lacking:
            raise UserError(f"{where}: {extension.value} does not define {lacking}")
        return cast(T, kind)


def _is_built_in(kind: object) -> bool:
    module: str = getattr(kind, "__module__", "")
    return module.partition(".")[0] == __name__.partition(".")[0]


def _described(kind: object) -> str:
    if not isinstance(kind, type):
        return f"a {type(kind).__name__}"
    return f"class {kind.__name__}({', '.join(base.__name__ for base in kind.__bases__)})"


def _lacking(kind: object) -> list[str]:
    """Return what a class's bases leave to it and it has not: methods, and class attributes."""
    if not isinstance(kind, type):
        return []
    declared = {
        name
        for base in kind.__mro__
        for name, annotation in inspect.get_annotations(base).items()
        if "ClassVar" in str(annotation) and not hasattr(kind, name)
    }
    return sorted(declared | getattr(kind, "__abstractmethods__", frozenset()))


def _package(extension: EntryPoint) -> str:
    """Return the name and version of the package that an entry point belongs to."""
    package = extension.dist
    # Where there is no metadata, Python's own finder gives None, and that of the package
    # importlib_metadata, which takes its place once it is imported, raises an error of its own.
    name = version = None
    with suppress(Exception):
        name, version = package and package.name, package and package.version
    if not name or not version:
        raise UserError(
            f"the package that names {extension.value} for {extension.group} has no metadata with "
            "its name and version; install it again"
        )
    return f"{name} {version}"
