"""What commands print goes through here: nothing in it can steer the terminal or tell a login.

Names come from datasets, files and servers. Markup in them is text as any other, and characters
that a terminal takes as orders are written out.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable

import click
from rich.console import Console, ConsoleOptions, RenderableType
from rich.segment import Segment

from mlfd_tune.core.printable import printable
from mlfd_tune.core.uris import hide_logins

__all__ = ["LineFormatter", "Terminal", "echo"]


class Terminal(Console):
    """A console of rich's that shows text as it stands.

    Args:
        stderr: For what must not mix with JSON on the standard output.
    """

    def __init__(self, *, stderr: bool = False) -> None:
        super().__init__(stderr=stderr, markup=False, emoji=False)

    def render(
        self, renderable: RenderableType, options: ConsoleOptions | None = None
    ) -> Iterable[Segment]:
        """Render as a console does; what rich itself says to the terminal passes."""
        for text, style, control in super().render(renderable, options):
            yield Segment(text if control else printable(text, keep="\n"), style, control)


class LineFormatter(logging.Formatter):
    """Formats log records as one line each, without logins."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the line of a record."""
        return printable(hide_logins(super().format(record)), keep="\n" if record.exc_info else "")


def echo(text: str, *, err: bool = False) -> None:
    """Print text of one or several lines.

    Args:
        text: What to print.
        err: Print it to the standard error.
    """
    click.echo(printable(hide_logins(text), keep="\n"), err=err)
