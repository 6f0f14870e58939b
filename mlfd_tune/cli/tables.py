"""`table`: results as they stand in a paper."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from mlfd_tune.cli.options import console, examples, tracking_uri
from mlfd_tune.cli.terminal import echo
from mlfd_tune.core.printable import printable_json

if TYPE_CHECKING:
    from mlfd_tune.ablation.table_model import ResultTable

__all__ = ["table"]


@click.command(
    epilog=examples(
        "mlfd-tune table compare_methods",
        "mlfd-tune table compare_methods --format latex -o methods.tex",
        "mlfd-tune table table2 --layout paper --format md",
    )
)
@click.argument("experiment")
@click.option("--run", metavar="ID", help="This run; the latest finished one by default.")
@click.option("--dataset", metavar="NAME", help="Only this dataset.")
@click.option(
    "--format",
    "form",
    type=click.Choice(["table", "md", "latex", "csv", "json"]),
    default="table",
    show_default=True,
    help="How to write it; csv and json have the numbers unrounded.",
)
@click.option("--json", "json_", is_flag=True, help="The same as --format json.")
@click.option(
    "--layout",
    type=click.Choice(["plain", "paper"]),
    default="plain",
    show_default=True,
    help="Arms as they are, or as in the papers' tables.",
)
@click.option(
    "-o",
    "--output",
    metavar="FILE",
    type=click.Path(path_type=Path, dir_okay=False),
    help="File to write; the standard output by default.",
)
@tracking_uri
def table(
    experiment: str,
    run: str | None,
    dataset: str | None,
    form: str,
    json_: bool,
    layout: str,
    output: Path | None,
    uri: str,
) -> None:
    """Write the tables of a finished run.

    Of an ablation: every arm with its interval, its difference to the reference arm and what that
    shows, with p values corrected for their number; then ranks across datasets. Of a sweep: what
    was confirmed on fresh seeds, beside baseline and control. Bold is best, underlined second.
    """
    from mlfd_tune.ablation.table_formats import WIDTH, render, rich_tables

    tables, notes, content = _read(uri, experiment, run, dataset, layout)
    form = "json" if json_ else form
    if form == "table" and output is None:
        out = console()
        for item in rich_tables(tables, notes):
            out.print(item, width=min(WIDTH, out.width), highlight=False)
        return
    text = f"{printable_json(content)}\n" if form == "json" else render(tables, notes, form)
    if output is None:
        click.echo(text, nl=False)
    else:
        _write(output, text)


def _read(
    uri: str, experiment: str, run: str | None, dataset: str | None, layout: str
) -> tuple[list[ResultTable], list[str], dict[str, Any]]:
    """Return the tables, the notes below them, and all of it as JSON types."""
    from mlfd_tune.ablation import ablation_tables, read_ablation
    from mlfd_tune.ablation.confirmed_tables import confirmed_tables
    from mlfd_tune.ablation.contribution import contributions
    from mlfd_tune.ablation.stored import stored_config
    from mlfd_tune.config import AblationConfig
    from mlfd_tune.core.errors import UserError
    from mlfd_tune.report.runs import finished_run
    from mlfd_tune.tracking import leaderboard, open_client

    found = finished_run(uri, experiment, run, dataset)
    config = stored_config(open_client(uri), found.run_id)
    if dataset is not None:
        config = config.model_copy(update={"targets": (dataset,)})
    if isinstance(config, AblationConfig):
        result = read_ablation(uri, experiment, config, found.id)
        teachers = contributions(config, result.rows)
        content = result.as_json() | {"contributions": [asdict(one) for one in teachers]}
        if layout == "paper":
            from mlfd_tune.report.paper_tables import paper_tables
            from mlfd_tune.report.top5 import read_top5

            top5 = read_top5(uri, experiment, found.id, result.metric)
            return paper_tables(result, config, top5), list(result.notes), content
        return ablation_tables(result, teachers), list(result.notes), content
    if layout == "paper":
        raise UserError(
            f"--layout: {experiment} is a sweep; the papers' layouts are for the ablations in "
            "experiments/table*.yaml"
        )
    board = leaderboard(uri, experiment, dataset=dataset, status="confirmed", all_runs=True)
    rows = [row for row in board if row.sweep == found.id]
    shown = [row.as_json() for row in rows]
    return confirmed_tables(rows), [], {"experiment": experiment, "run": found.id, "rows": shown}


def _write(output: Path, text: str) -> None:
    from mlfd_tune.core.errors import UserError
    from mlfd_tune.core.store.artifact import write_atomically

    try:
        output.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(output, text.encode())
    except OSError as error:
        raise UserError(f"--output: {output} cannot be written ({error.strerror})") from error
    echo(str(output))
