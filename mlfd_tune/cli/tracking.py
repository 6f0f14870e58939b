"""`tracking`: records that a run could not send to MLflow, shown and sent."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from mlfd_tune.cli.options import (
    Group,
    as_json,
    console,
    examples,
    print_json,
    print_table,
    runs_folder,
)
from mlfd_tune.cli.terminal import echo
from mlfd_tune.core.errors import UserError, allowed_values

if TYPE_CHECKING:
    from mlfd_tune.tracking.waiting import Waiting

__all__ = ["tracking"]


@click.group(cls=Group)
def tracking() -> None:
    """Look after records that wait for the tracking server."""


@tracking.command("status", epilog=examples("mlfd-tune tracking status"))
@runs_folder("Where to look for runs with records that wait.")
@as_json
def status(runs: Path, json_: bool) -> None:
    """List the runs whose records have not all been sent.

    Those that MLflow refused for good are counted, too; they stand in `rejected.jsonl` in the
    folder that --json names.
    """
    from mlfd_tune.tracking.waiting import waiting_for

    found = [waiting for waiting in waiting_for(runs) if waiting.records or waiting.refused]
    if json_:
        print_json([waiting.as_json() for waiting in found])
    elif found:
        print_table(
            ("run", "waiting", "refused", "open in process", "goes to"),
            [
                (
                    waiting.name,
                    waiting.records,
                    waiting.refused,
                    waiting.owner,
                    waiting.target and waiting.target.uri,
                )
                for waiting in found
            ],
        )
    else:
        echo(f"no records wait in {runs}")


@tracking.command(
    "flush",
    epilog=examples(
        "mlfd-tune tracking flush",
        "mlfd-tune tracking flush quickstart/20260101-120000",
        "mlfd-tune tracking flush quickstart --uri http://localhost:5000",
    ),
)
@click.argument("run", required=False)
@runs_folder("Where to look for runs with records that wait.")
@click.option(
    "--uri",
    metavar="URI",
    help="Where to send them; by default where each run was to be recorded.",
)
@as_json
def flush(run: str | None, runs: Path, uri: str | None, json_: bool) -> None:
    """Send records that wait.

    RUN is a run as `tracking status` names it, or an experiment; without it, all. Logins are not
    kept on disk: they are taken from MLFLOW_TRACKING_URI, or the variables that MLflow and
    PostgreSQL read. Exits with 2 where not all could be sent; what was sent is not sent again.
    """
    from mlfd_tune.tracking.client import shown_uri
    from mlfd_tune.tracking.flushing import uri_of

    problems: list[str] = []
    sent: list[dict[str, str | int]] = []
    for waiting in _chosen(run, runs):
        try:
            target = uri_of(waiting, uri)
            _send(waiting, target)
        except UserError as error:
            problems += error.problems
        else:
            to = shown_uri(target)
            sent.append({"run": waiting.name, "records": waiting.records, "uri": to})
    if json_:
        print_json(sent)
    else:
        for one in sent:
            echo(f"{one['run']}: {one['records']} records sent to {one['uri']}")
    if problems:
        raise UserError(*problems)
    if not sent and not json_:
        echo(f"no records wait in {runs}")


def _chosen(run: str | None, runs: Path) -> list[Waiting]:
    from mlfd_tune.tracking.waiting import waiting_for

    found = waiting_for(runs)
    if run is not None:
        known = {waiting.name for waiting in found} | {waiting.experiment for waiting in found}
        if run not in known:
            shown = allowed_values(run, known) if known else f"({runs} holds none)"
            raise UserError(f"RUN: there is no run {run!r} {shown}")
        found = [waiting for waiting in found if run in (waiting.name, waiting.experiment)]
    return [waiting for waiting in found if waiting.records]


def _send(waiting: Waiting, uri: str) -> None:
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

    from mlfd_tune.tracking.flushing import flush as send

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn())
    out = console(stderr=True)
    with Progress(*columns, console=out, transient=True, disable=not out.is_terminal) as bar:
        task = bar.add_task(waiting.name, total=waiting.records)

        def moved(unsent: int) -> None:
            bar.update(task, completed=waiting.records - unsent)

        send(waiting, uri, moved)
