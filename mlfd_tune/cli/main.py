"""The command `mlfd-tune`, and what every command does with errors."""

from __future__ import annotations

import logging
import sys
from typing import Any

import click

from mlfd_tune import __version__
from mlfd_tune.cli.artifacts import store
from mlfd_tune.cli.datasets import data
from mlfd_tune.cli.doctor import doctor
from mlfd_tune.cli.evaluation import evaluate
from mlfd_tune.cli.experiments import run, train
from mlfd_tune.cli.exporting import export
from mlfd_tune.cli.importance import importance
from mlfd_tune.cli.inspection import models
from mlfd_tune.cli.kinds import kinds
from mlfd_tune.cli.layers import layers
from mlfd_tune.cli.leaderboard import leaderboard
from mlfd_tune.cli.options import Group
from mlfd_tune.cli.plots import plot
from mlfd_tune.cli.registering import register
from mlfd_tune.cli.report import report
from mlfd_tune.cli.reproducing import reproduce
from mlfd_tune.cli.serving import ui
from mlfd_tune.cli.tables import table
from mlfd_tune.cli.terminal import LineFormatter
from mlfd_tune.cli.tracking import tracking
from mlfd_tune.core.errors import UserError

__all__ = ["main"]


class _Main(Group):
    """The command itself, which shows a user's mistake in plain lines and exits with 2."""

    def main(self, *args: Any, **kwargs: Any) -> Any:
        try:
            return super().main(*args, **kwargs)
        except UserError as error:
            for problem in error.problems:
                click.echo(f"error: {problem}", err=True)
            sys.exit(2)


@click.group(cls=_Main, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="mlfd-tune")
def main() -> None:
    """Sweeps, ablations and leaderboards for Multi-Level Feature Distillation.

    Bad input gives one line for each problem and exit code 2.
    """
    logging.basicConfig(level=logging.WARNING)
    for handler in logging.getLogger().handlers:
        handler.setFormatter(LineFormatter("%(levelname)s: %(message)s"))


for command in (
    run,
    train,
    evaluate,
    leaderboard,
    table,
    report,
    importance,
    plot,
    export,
    reproduce,
    register,
    data,
    models,
    layers,
    kinds,
    store,
    tracking,
    ui,
    doctor,
):
    main.add_command(command)
