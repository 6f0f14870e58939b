"""How large an experiment file may be: far more than any needs, far less than does harm.

An alias takes a few bytes and stands for all that it refers to, so that a file of one kilobyte can
say more than a machine has memory for; and what is nested too deeply ends the reading of it
somewhere in the middle. So both are looked at before anything is built.
"""

from __future__ import annotations

from typing import Final, NamedTuple

import yaml

from mlfd_tune.core.errors import UserError

__all__ = [
    "LONGEST_KEY",
    "LONGEST_NUMBER",
    "MOST_BYTES",
    "MOST_FILES",
    "MOST_LEVELS",
    "MOST_VALUES",
    "check_document",
    "check_levels",
    "check_plain",
    "check_text",
]

MOST_BYTES: Final = 1_000_000
"""Of one file."""

MOST_FILES: Final = 200
"""That one experiment reads: a file that is included twice counts twice."""

MOST_LEVELS: Final = 50
"""Of keys below one another."""

MOST_VALUES: Final = 50_000
"""Of one file, aliases counted as what they stand for."""

LONGEST_KEY: Final = 300
"""Characters of a key."""

LONGEST_NUMBER: Final = 100
"""Digits of a whole number; one of 309 is no float, and Python prints none of 4,301."""


def check_document(root: yaml.Node | None) -> None:
    """Check the size of a document before it is built.

    Raises:
        yaml.MarkedYAMLError: An alias stands in what it refers to, there are too many levels or
            values, or a text or number is one that nothing can use; the error says where.
    """
    if root is not None:
        _measured(root, {}, [])


def check_levels(levels: int, where: str) -> None:
    """Check how deep a key lies.

    Raises:
        UserError: Too deep.
    """
    if levels > MOST_LEVELS:
        raise UserError(f"{where}: has {levels} levels of keys (allowed: up to {MOST_LEVELS})")


def check_text(text: str) -> str | None:
    """Return what is wrong with a text; None where nothing is.

    What no file's name and no database can hold is refused here, where it can still be told in
    which line it stands.
    """
    if "\0" in text:
        return "a text holds a NUL character"
    if any("\ud800" <= char <= "\udfff" for char in text):
        return "a text holds half of a character (a lone surrogate)"
    return None


def check_plain(content: object, where: str, levels: int = 0) -> None:
    """Check what was read from a file of another format than YAML.

    Raises:
        UserError: There are too many levels, or a text or number is one that nothing can use.
    """
    check_levels(levels, where)
    if isinstance(content, str):
        wrong = check_text(content)
    elif isinstance(content, int):
        wrong = None if abs(content) < 10**LONGEST_NUMBER else _long(LONGEST_NUMBER, "digits")
    else:
        wrong = None
    if wrong:
        raise UserError(f"{where}: {wrong}")
    if isinstance(content, dict):
        content = [part for pair in content.items() for part in pair]
    for part in content if isinstance(content, list) else ():
        check_plain(part, where, levels + 1)


class _Size(NamedTuple):
    """Of a node, with all that it stands for."""

    values: int
    levels: int


def _measured(node: yaml.Node, known: dict[int, _Size], above: list[int]) -> _Size:
    if id(node) in above:
        raise _problem("an alias refers to a mapping that it stands in", node)
    if id(node) in known:
        return known[id(node)]
    values = levels = 0
    above.append(id(node))
    for part in _parts(node):
        size = _measured(part, known, above)
        values, levels = values + size.values, max(levels, size.levels)
        if values >= MOST_VALUES:
            raise _problem(f"more than {MOST_VALUES:,} values, aliases written out", node)
        if levels >= MOST_LEVELS:
            raise _problem(f"more than {MOST_LEVELS} levels, aliases written out", node)
    above.pop()
    known[id(node)] = _Size(values + 1, levels + 1)
    return known[id(node)]


def _parts(node: yaml.Node) -> list[yaml.Node]:
    """Return the keys and values, or the items, of a node; a scalar has none and is looked at."""
    if isinstance(node, yaml.MappingNode):
        for key, _ in node.value:
            if isinstance(key, yaml.ScalarNode) and len(key.value) > LONGEST_KEY:
                raise _problem(f"a key of {len(key.value):,} characters", key)
        return [part for pair in node.value for part in pair]
    if isinstance(node, yaml.SequenceNode):
        return list(node.value)
    wrong = check_text(node.value)
    if node.tag == "tag:yaml.org,2002:int" and len(node.value) > LONGEST_NUMBER:
        wrong = _long(LONGEST_NUMBER, "characters")
    if wrong:
        raise _problem(wrong, node)
    return []


def _long(most: int, of: str) -> str:
    return f"a whole number of more than {most} {of}"


def _problem(text: str, node: yaml.Node) -> yaml.MarkedYAMLError:
    return yaml.constructor.ConstructorError(None, None, text, node.start_mark)
