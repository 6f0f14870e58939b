"""What several commands share: options, groups, errors about a file, tables and JSON."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

import click
from rich.table import Table

from mlfd_tune.cli.terminal import Terminal, echo
from mlfd_tune.core.errors import UserError, allowed_values

__all__ = [
    "Group",
    "as_json",
    "console",
    "examples",
    "print_json",
    "print_table",
    "problems_in",
    "runs_folder",
    "store_path",
    "tracking_uri",
]

Command = TypeVar("Command", bound=Callable[..., Any])

DEFAULT_STORE = ".mlfd/store"
DEFAULT_URI = "sqlite:///mlflow.db"


class Group(click.Group):
    """A group of commands that says which there are when it is given another."""

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Find the command that `args` begin with."""
        name = args[0]
        if self.get_command(ctx, name) is None and not name.startswith("-"):
            known = allowed_values(name, self.list_commands(ctx))
            ctx.fail(f"unknown command {name!r} {known}")
        return super().resolve_command(ctx, args)


def as_json(command: Command) -> Command:
    """Add ``--json``."""
    return click.option("--json", "json_", is_flag=True, help="Print JSON for programs.")(command)


def runs_folder(help_text: str) -> Callable[[Command], Command]:
    """Return what adds ``--runs``.

    Args:
        help_text: Its help, which says what the command looks for there.
    """
    return click.option(
        "--runs",
        metavar="FOLDER",
        type=click.Path(path_type=Path, file_okay=False),
        default=Path("runs"),
        show_default=True,
        help=help_text,
    )


def store_path(command: Command) -> Command:
    """Add ``--store``."""
    return click.option(
        "--store",
        default=DEFAULT_STORE,
        show_default=True,
        metavar="FOLDER",
        help="The artifact store.",
    )(command)


def tracking_uri(command: Command) -> Command:
    """Add ``--uri``."""
    return click.option(
        "--uri",
        default=DEFAULT_URI,
        show_default=True,
        metavar="URI",
        envvar="MLFLOW_TRACKING_URI",
        help="MLflow tracking URI; also read from MLFLOW_TRACKING_URI.",
    )(command)


def examples(*lines: str) -> str:
    """Return the end of a help text that shows command lines."""
    return "\n".join(["\b", "Examples:", *(f"  {line}" for line in lines)])


@contextmanager
def problems_in(file: Path) -> Iterator[None]:
    """Name the file in the user errors that are raised inside the block."""
    try:
        yield
    except UserError as error:
        named = (
            problem if problem.startswith(("--", f"{file}: ")) else f"{file}: {problem}"
            for problem in error.problems
        )
        raise UserError(*named) from None


def console(*, stderr: bool = False) -> Terminal:
    """Return the console that commands print to.

    Args:
        stderr: For what must not mix with JSON on the standard output.
    """
    return Terminal(stderr=stderr)


def print_json(value: Any) -> None:
    """Print a value as indented JSON."""
    echo(json.dumps(value, indent=2))


def print_table(columns: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    """Print rows under their column names; empty cells for None."""
    table = Table(box=None, pad_edge=False)
    for column in columns:
        table.add_column(column, overflow="fold")
    for row in rows:
        table.add_row(*("" if cell is None else str(cell) for cell in row))
    console().print(table)
