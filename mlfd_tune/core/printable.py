"""Text from outside that is shown: characters that would steer a program are written out.

Names of classes, files and runs come from datasets and servers. A terminal takes some characters as
orders: to move, to recolour, to set its title, to write from right to left. A spreadsheet computes
what begins as a formula.
"""

from __future__ import annotations

import json
import unicodedata
from typing import Any, Final

__all__ = ["csv_cell", "printable", "printable_json"]

_JOINERS: Final = "\u200c\u200d"  # scripts and emoji are spelt with them
_FORMULA: Final = ("=", "+", "-", "@")


def printable(text: str, keep: str = "") -> str:
    r"""Return `text` with ``\x1b`` and the like for each character that is not to be seen.

    Args:
        text: Any text; a line feed is written out, too.
        keep: Characters that stay as they are.
    """
    rest = text
    for character in keep:
        rest = rest.replace(character, "")
    if rest.isprintable():
        return text
    return "".join(
        character if character in keep or _is_seen(character) else _written_out(character)
        for character in text
    )


def printable_json(value: Any, indent: int | None = 2) -> str:
    """Return a value as JSON that can be looked at in a terminal; letters stay as they are."""
    text = json.dumps(value, indent=indent, ensure_ascii=False)
    if text.replace("\n", "").isprintable():
        return text
    return "".join(
        character if character == "\n" or _is_seen(character) else json.dumps(character)[1:-1]
        for character in text
    )


def csv_cell(value: Any) -> Any:
    """Return a cell of a CSV file: a text that a spreadsheet would compute gets an apostrophe."""
    if not isinstance(value, str):
        return value
    text = printable(value)
    return f"'{text}" if text.startswith(_FORMULA) and not _is_number(text) else text


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def _is_seen(character: str) -> bool:
    return (
        character.isprintable()
        or character in _JOINERS
        or unicodedata.category(character) == "Zs"  # spaces of other widths
    )


def _written_out(character: str) -> str:
    return character.encode("unicode_escape").decode()
