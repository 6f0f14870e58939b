"""Errors meant for people: one clear line, no traceback, exit code 2."""

from __future__ import annotations

import difflib
from collections.abc import Iterable

from mlfd_tune.core.printable import printable
from mlfd_tune.core.uris import hide_logins

__all__ = ["NonFiniteLossError", "UserError", "allowed_values", "nearest"]


class UserError(Exception):
    """Bad input from the user.

    The message says what is wrong, where (file and key), what is allowed, and the nearest match.
    Several problems found together are carried in `problems`, one line each. Messages quote what
    comes from outside: logins in URIs are hidden, and what would steer a terminal is written out.

    Args:
        problems: One message, or several that are shown together.
    """

    def __init__(self, *problems: str) -> None:
        self.problems = tuple(printable(hide_logins(problem)) for problem in problems)
        super().__init__("\n".join(self.problems))

    def __reduce__(self) -> tuple[type[UserError], tuple[str, ...]]:
        # Ray and multiprocessing pickle exceptions by their constructor arguments.
        return type(self), self.problems


class NonFiniteLossError(RuntimeError):
    """A loss or metric became NaN or infinite, so training stopped."""


def nearest(name: str, allowed: Iterable[str]) -> str | None:
    """Return the allowed name closest to `name`, or None when nothing is close."""
    matches = difflib.get_close_matches(name, list(allowed), n=1, cutoff=0.6)
    return matches[0] if matches else None


def allowed_values(name: str, allowed: Iterable[str]) -> str:
    """Phrase what is allowed in place of `name`: ``(allowed: a, b; did you mean 'a'?)``."""
    names = sorted(allowed)
    match = nearest(name, names)
    hint = f"; did you mean {match!r}?" if match else ""
    shown = ", ".join(names[:12]) + (f", ... ({len(names)} in all)" if len(names) > 12 else "")
    return f"(allowed: {shown}{hint})"
