"""The error that there is no room for what is to be written."""

from __future__ import annotations

from mlfd_tune.core.errors import UserError

__all__ = ["NoSpaceError"]


class NoSpaceError(UserError):
    """A disk or a budget has no room for something that the work cannot do without.

    It says nothing about the work, which can go on from where it is when there is room again: so a
    run ends with it, and no trial counts as failed.
    """
