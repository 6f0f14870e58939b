"""Options that several commands have, and how tables and JSON are printed."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Sequence
from typing import Any, TypeVar

import click
from rich.console import Console
from rich.table import Table

__all__ = ["as_json", "console", "print_json", "print_table", "store_path", "tracking_uri"]

Command = TypeVar("Command", bound=Callable[..., Any])

DEFAULT_STORE = ".mlfd/store"
DEFAULT_URI = "sqlite:///mlflow.db"


def as_json(command: Command) -> Command:
    """Add ``--json``."""
    return click.option("--json", "json_", is_flag=True, help="Print JSON for programs.")(command)


def store_path(command: Command) -> Command:
    """Add ``--store``."""
    return click.option(
        "--store", "store", default=DEFAULT_STORE, show_default=True, help="The artifact store."
    )(command)


def tracking_uri(command: Command) -> Command:
    """Add ``--uri``."""
    return click.option(
        "--uri",
        default=DEFAULT_URI,
        show_default=True,
        envvar="MLFLOW_TRACKING_URI",
        help="MLflow tracking URI; also read from MLFLOW_TRACKING_URI.",
    )(command)


def console() -> Console:
    """Return the console that commands print to."""
    return Console()


def print_json(value: Any) -> None:
    """Print a value as indented JSON."""
    click.echo(json.dumps(value, indent=2))


def print_table(columns: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    """Print rows under their column names; empty cells for None."""
    table = Table(box=None, pad_edge=False)
    for column in columns:
        table.add_column(column, overflow="fold")
    for row in rows:
        table.add_row(*("" if cell is None else str(cell) for cell in row))
    console().print(table)
