"""Writes the reference of all commands from the commands themselves.

``python -m mlfd_tune.cli.reference docs/cli.md`` writes it; without a file it is printed.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from inspect import cleandoc
from pathlib import Path

import click

from mlfd_tune.cli.main import main

__all__ = ["render"]

_HEAD = """\
# Commands

Generated from the commands by `python -m mlfd_tune.cli.reference docs/cli.md`.

Exit codes: 0 for success; 1 where `store verify` found damage; 2 for bad input, with one line for
each problem on the standard error; 130 after Ctrl-C. With `--json` the standard output holds JSON
and nothing else.
"""


def render() -> str:
    """Return the reference as Markdown."""
    return "\n".join([_HEAD, *_commands(main, "mlfd-tune", 0)]).rstrip() + "\n"


def _commands(group: click.Group, path: str, depth: int) -> Iterator[str]:
    for name, command in sorted(group.commands.items()):
        below = f"{path} {name}"
        if isinstance(command, click.Group):
            yield f"## `{below}`\n\n{cleandoc(command.help or '')}\n"
            yield from _commands(command, below, depth + 1)
        else:
            yield from _command(command, below, depth)


def _command(command: click.Command, path: str, depth: int) -> Iterator[str]:
    context = click.Context(command, info_name=path)
    yield f"{'#' * (depth + 2)} `{path}`\n\n{cleandoc(command.help or '')}\n"
    yield f"```\n{path} {' '.join(command.collect_usage_pieces(context))}\n```\n"
    options = [item for item in command.params if isinstance(item, click.Option)]
    if options:
        yield _table(options, context)
    if command.epilog:
        lines = [line.strip() for line in command.epilog.splitlines()[2:]]
        yield "\n".join(["```sh", *lines, "```\n"])


def _table(options: list[click.Option], context: click.Context) -> str:
    lines = ["| option | value | default | meaning |", "| --- | --- | --- | --- |"]
    for option in options:
        names = ", ".join(f"`{name}`" for name in option.opts)
        value = "" if option.is_flag else f"`{option.make_metavar(context).strip('[]')}`"
        shown = option.default is not None and option.show_default
        default = f"`{option.default}`" if shown else ""
        cells = (names, value, default, option.help or "")
        lines.append("| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    if len(sys.argv) > 1:
        Path(sys.argv[1]).write_text(render(), encoding="utf-8")
    else:
        sys.stdout.write(render())
