"""Names that become parts of paths: of experiments, datasets, and what a server calls them."""

from __future__ import annotations

import re
from typing import Final

from mlfd_tune.core.errors import UserError

__all__ = ["LONGEST_NAME", "file_stem", "problem_with_name", "shortened"]

LONGEST_NAME: Final = 100
"""Characters. With what is added to a name, a file's stays below the 255 bytes that it may have."""

_MOST_BYTES: Final = 200
_DEVICES: Final = re.compile(r"(?i)(con|prn|aux|nul|com\d|lpt\d)(\..*)?")


def problem_with_name(name: str) -> str | None:
    """Return why a name cannot be that of a file or folder on every system, or None if it can."""
    if not name:
        return "is empty"
    if not name.isprintable():
        return "has a character that is not to be seen"
    if set(name) & set('/\\:*?"<>|'):
        return 'has one of / \\ : * ? " < > |'
    if name[0] in ".- " or name[-1] in ". ":
        return "begins with a dot, a hyphen or a space, or ends with a dot or a space"
    if len(name) > LONGEST_NAME or len(name.encode()) > _MOST_BYTES:
        return f"is longer than {LONGEST_NAME} characters"
    if _DEVICES.fullmatch(name):
        return "is a device's on Windows"
    return None


def shortened(name: str) -> str:
    """Return a name as messages quote it."""
    return name if len(name) <= LONGEST_NAME else f"{name[:40]}..."


def file_stem(name: str, what: str) -> str:
    """Return a name that comes from a server, for use in a file's name.

    Args:
        name: The name.
        what: What it is the name of, for the message.

    Raises:
        UserError: It could lead to another folder, or be no file's name.
    """
    problem = problem_with_name(name)
    if problem is not None:
        raise UserError(f"{what} {shortened(name)!r} cannot be a file's name: it {problem}")
    return name
