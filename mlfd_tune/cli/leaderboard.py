"""`leaderboard`: configurations ranked, looked at again and again, and two of them compared."""

from __future__ import annotations

import gc
import sys
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

import click

from mlfd_tune.cli.options import Group, as_json, console, examples, print_json, tracking_uri
from mlfd_tune.core.errors import UserError

if TYPE_CHECKING:
    from rich.console import RenderableType

    from mlfd_tune.tracking.leaderboard import Row

__all__ = ["leaderboard"]

_DEFAULT = "show"
_SHOWN_IN_A_TERMINAL = 50
_BY_TEST = (
    "Ordered or chosen by test accuracy: to look at, not to select by. Whoever picks the best of "
    "many by their test accuracy reports luck as skill; the usual order is that of validation."
)


class _WithDefault(Group):
    """A group that takes its default command's arguments and options where no command is named."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        if not args or (args[0] not in self.commands and args[0] not in ctx.help_option_names):
            args.insert(0, _DEFAULT)
        return super().parse_args(ctx, args)

    def format_usage(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        formatter.write_usage(ctx.command_path, "[OPTIONS] [EXPERIMENT]")
        formatter.write_usage(ctx.command_path, "diff [OPTIONS] A B", prefix="       ")

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        self.commands[_DEFAULT].format_options(ctx, formatter)
        self.format_commands(ctx, formatter)


@dataclass(frozen=True)
class _Question:
    """What is asked of the leaderboard, apart from how the answer is shown."""

    uri: str
    experiment: str | None
    dataset: str | None
    method: str | None
    status: str | None
    all_runs: bool
    fold: bool
    condition: str | None
    sort: str | None
    columns: str

    @property
    def settings(self) -> list[str]:
        """The settings that are wanted as columns."""
        from mlfd_tune.tracking.choosing import names_in

        return names_in(self.columns)

    @property
    def note(self) -> str | None:
        """What has to be said below rows that were ordered or chosen by test accuracy."""
        from mlfd_tune.tracking.results import TEST

        return _BY_TEST if TEST in f"{self.condition} {self.sort}" else None

    def under_way(self) -> int:
        """Count the runs that have begun and not ended."""
        from mlfd_tune.tracking.results import read_results

        running = read_results(
            self.uri, self.experiment, "RUNNING", self.dataset, all_runs=self.all_runs
        )
        return len(running)

    def answer(self) -> list[Row]:
        """Read the rows."""
        from mlfd_tune.tracking import choosing
        from mlfd_tune.tracking.leaderboard import leaderboard as read

        rows = read(
            self.uri,
            self.experiment,
            dataset=self.dataset,
            method=self.method,
            status=self.status,
            all_runs=self.all_runs,
            fold=self.fold,
        )
        keys = choosing.sort_keys(self.sort or "")
        # Names are looked up among all rows: those that a filter leaves may lack one of them.
        rows = choosing.with_settings(choosing.ordered(rows, keys), self.settings)
        return choosing.filtered(rows, self.condition) if self.condition else rows


@click.group(
    cls=_WithDefault,
    epilog=examples(
        "mlfd-tune leaderboard quickstart",
        "mlfd-tune leaderboard --filter 'val/acc1 > 80 and distillation.alpha < 1'",
        "mlfd-tune leaderboard quickstart --watch",
        "mlfd-tune leaderboard diff quickstart:digits quickstart:letters",
    ),
)
def leaderboard() -> None:
    """Rank configurations, or compare two of them.

    Without EXPERIMENT, those of all experiments. An experiment that is called as a command below is
    given as `show NAME`.
    """


@leaderboard.command(
    _DEFAULT,
    epilog=examples(
        "mlfd-tune leaderboard quickstart",
        "mlfd-tune leaderboard quickstart --dataset digits --status confirmed --format md",
        "mlfd-tune leaderboard --fold --sort -val/acc1 --columns distillation.alpha",
    ),
)
@click.argument("experiment", required=False)
@click.option("--dataset", metavar="NAME", help="Only this dataset.")
@click.option(
    "--method", metavar="NAME", help="Only this method, such as mlfd, own_teacher or none."
)
@click.option(
    "--status",
    metavar="NAME",
    help="Only this status: confirmed, ablation, provisional, pruned or failed.",
)
@click.option(
    "--filter",
    "condition",
    metavar="CONDITION",
    help="Only rows that match, such as 'val/acc1 > 80 and distillation.alpha < 1'.",
)
@click.option(
    "--sort",
    metavar="NAMES",
    help="Order by these columns and settings, such as -val/acc1,dataset; - is from high to low.",
)
@click.option(
    "--columns",
    metavar="NAMES",
    default="",
    help="Settings to show as columns, such as distillation.alpha,student.arch.",
)
@click.option(
    "--limit",
    type=click.IntRange(min=0),
    metavar="NUMBER",
    help="Rows of each experiment, 0 for all; by default 50 in a terminal, else all.",
)
@click.option("--all-runs", is_flag=True, help="All runs of an experiment, not only its latest.")
@click.option(
    "--fold",
    is_flag=True,
    help="The same configuration on the same images in several experiments is one row.",
)
@click.option(
    "--watch",
    type=click.FloatRange(min=0.1),
    is_flag=False,
    flag_value=5.0,
    metavar="SECONDS",
    help="Look again every 5 seconds, or as given, until Ctrl-C.",
)
@click.option(
    "--format",
    "form",
    type=click.Choice(["table", "csv", "json", "md"]),
    default="table",
    show_default=True,
    help="How to print it.",
)
@click.option("--json", "json_", is_flag=True, help="The same as --format json.")
@tracking_uri
def show(
    experiment: str | None,
    dataset: str | None,
    method: str | None,
    status: str | None,
    condition: str | None,
    sort: str | None,
    columns: str,
    limit: int | None,
    all_runs: bool,
    fold: bool,
    watch: float | None,
    form: str,
    json_: bool,
    uri: str,
) -> None:
    """Rank the configurations of an experiment.

    Without EXPERIMENT, those of all experiments. The seeds of a configuration are one row. Rows
    stand in the order of their validation accuracy.
    """
    from mlfd_tune.tracking.waiting import undelivered

    question = _Question(
        uri, experiment, dataset, method, status, all_runs, fold, condition, sort, columns
    )
    form = "json" if json_ else form
    if watch is not None and form != "table":
        raise UserError(f"--watch: draws a table (allowed: --format table, not {form})")
    if form != "table":
        _write(question, form, limit)
    elif watch is None:
        default = _SHOWN_IN_A_TERMINAL if sys.stdout.isatty() else 0
        out = console()
        for item in _tables(question, question.answer(), default if limit is None else limit):
            out.print(item)
        missing = undelivered(uri, experiment)
        if missing:
            out.print(missing, markup=False, highlight=False)
    else:
        _watch(question, watch, _SHOWN_IN_A_TERMINAL if limit is None else limit)


def _write(question: _Question, form: str, limit: int | None) -> None:
    from mlfd_tune.tracking.choosing import first_of_each
    from mlfd_tune.tracking.tables import render

    with _nothing_collected():
        rows = question.answer()
        rows = first_of_each(rows, limit) if limit else rows
        text = render(rows, form, settings=question.settings)
    click.echo(text, nl=False)


@contextmanager
def _nothing_collected() -> Iterator[None]:
    """Look for no garbage meanwhile: among 10,000 rows there is none, and looking takes 0.3 s."""
    was_on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_on:
            gc.enable()


def _tables(
    question: _Question,
    rows: Sequence[Row],
    limit: int,
    changed: Collection[tuple[str, ...]] = (),
) -> list[RenderableType]:
    from mlfd_tune.tracking.tables import rich_tables

    tables: list[RenderableType] = [
        *rich_tables(
            rows, settings=question.settings, limit=limit, folded=question.fold, changed=changed
        )
    ]
    return [*tables, question.note] if question.note else tables


def _watch(question: _Question, seconds: float, limit: int) -> None:
    from mlfd_tune.cli.watching import watch

    watch(
        question.answer,
        question.under_way,
        lambda rows, changed: _tables(question, rows, limit, changed),
        seconds,
    )


@leaderboard.command(
    "diff",
    epilog=examples(
        "mlfd-tune leaderboard diff 1c3f81ad 0ca1bda0",
        "mlfd-tune leaderboard diff quickstart:digits other:digits",
    ),
)
@click.argument("a")
@click.argument("b")
@tracking_uri
@as_json
def diff(a: str, b: str, uri: str, json_: bool) -> None:
    """Show in what two runs or configurations differ.

    A and B are ids of runs or their first characters, four at least; EXPERIMENT:DATASET for the
    best configuration there; or EXPERIMENT:CONFIG for the one that the leaderboard shows so.
    Settings, metrics, data, software and hardware are compared. Two configurations are compared by
    the seeds they share.
    """
    from mlfd_tune.tracking.difference_tables import difference_tables
    from mlfd_tune.tracking.differences import difference_of

    found = difference_of(uri, a, b)
    if json_:
        print_json(found.as_json())
        return
    out = console()
    for item in difference_tables(found):
        out.print(item)
