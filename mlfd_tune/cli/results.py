"""`leaderboard`, `export` and `ui`: looking at what came out."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from mlfd_tune.cli.options import as_json, console, examples, print_json, store_path, tracking_uri
from mlfd_tune.core.errors import UserError

if TYPE_CHECKING:
    from mlfd_tune.tracking.export import Exported

__all__ = ["export", "leaderboard", "ui"]


@click.command(
    epilog=examples(
        "mlfd-tune leaderboard quickstart",
        "mlfd-tune leaderboard quickstart --dataset digits --status confirmed --format md",
    )
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
@click.option("--all-runs", is_flag=True, help="All runs of an experiment, not only its latest.")
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
def leaderboard(
    experiment: str | None,
    dataset: str | None,
    method: str | None,
    status: str | None,
    all_runs: bool,
    form: str,
    json_: bool,
    uri: str,
) -> None:
    """Rank the configurations of an experiment.

    Without EXPERIMENT, those of all experiments. The seeds of a configuration are one row. Rows
    stand in the order of their validation accuracy.
    """
    from mlfd_tune import tracking

    rows = tracking.leaderboard(
        uri, experiment, dataset=dataset, method=method, status=status, all_runs=all_runs
    )
    form = "json" if json_ else form
    if form == "table":
        out = console()
        for item in tracking.rich_tables(rows):
            out.print(item)
    else:
        click.echo(tracking.render(rows, form), nl=False)


@click.command(
    epilog=examples("mlfd-tune export quickstart", "mlfd-tune train exports/digits.yaml")
)
@click.argument("experiment")
@click.option(
    "-o",
    "--output",
    metavar="FOLDER",
    type=click.Path(path_type=Path, file_okay=False),
    default=Path("exports"),
    show_default=True,
    help="Folder to write to.",
)
@click.option("--dataset", metavar="NAME", help="Only this dataset.")
@store_path
@tracking_uri
@as_json
def export(
    experiment: str, output: Path, dataset: str | None, store: str, uri: str, json_: bool
) -> None:
    """Write the best configurations and their weights.

    One YAML file per dataset of EXPERIMENT, which `mlfd-tune train` takes, and beside it the
    weights as safetensors.
    """
    from mlfd_tune.tracking.export import export_best

    exported = export_best(uri, experiment, output, store, dataset)
    if json_:
        print_json([_as_json(item) for item in exported])
        return
    out = console()
    for item in exported:
        weights = f" and {item.weights}" if item.weights else " (weights are not in the store)"
        out.print(f"{item.row.dataset}: {item.config}{weights}  [{item.row.status}]", markup=False)
        if item.better_control is not None:
            out.print(
                f"  note: {item.better_control.method} scores higher on validation",
                highlight=False,
            )


def _as_json(item: Exported) -> dict[str, Any]:
    better = item.better_control
    return {
        **item.row.as_json(),
        "config_file": str(item.config),
        "weights_file": str(item.weights) if item.weights else None,
        "better_control": better.method if better else None,
    }


@click.command()
@click.option(
    "--port",
    type=click.IntRange(1, 65535),
    metavar="NUMBER",
    default=5000,
    show_default=True,
    help="Port to listen on.",
)
@click.option(
    "--host",
    metavar="ADDRESS",
    default="127.0.0.1",
    show_default=True,
    help="Address to listen on.",
)
@tracking_uri
def ui(port: int, host: str, uri: str) -> None:
    """Serve MLflow's web interface.

    It shows the tracking database of --uri until it is stopped with Ctrl-C.
    """
    from mlfd_tune.tracking import check_uri
    from mlfd_tune.tracking.client import sqlite_path

    check_uri(uri)
    path = sqlite_path(uri)
    if path is not None and not path.exists():
        raise UserError(f"--uri: there is no database {path} yet; run a sweep first")
    if uri.startswith("http"):
        raise UserError(f"--uri: {uri} is a server already; open it in a browser")
    click.echo(f"http://{host}:{port}")
    command = [sys.executable, "-m", "mlflow", "server", "--backend-store-uri", uri]
    command += ["--host", host, "--port", str(port), "--workers", "1"]
    os.execv(sys.executable, command)
