"""`leaderboard`, `export` and `ui`: looking at what came out."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import click

from mlfd_tune.cli.options import console, store_path, tracking_uri

__all__ = ["export", "leaderboard", "ui"]


@click.command()
@click.argument("experiment", required=False)
@click.option("--dataset", help="Only this dataset.")
@click.option("--method", help="Only this method, such as mlfd, own_teacher or none.")
@click.option("--status", help="confirmed, ablation, provisional, pruned or failed.")
@click.option("--all-runs", is_flag=True, help="Every run of an experiment, not only its latest.")
@click.option(
    "--format",
    "form",
    type=click.Choice(["table", "csv", "json", "md"]),
    default="table",
    show_default=True,
)
@tracking_uri
def leaderboard(
    experiment: str | None,
    dataset: str | None,
    method: str | None,
    status: str | None,
    all_runs: bool,
    form: str,
    uri: str,
) -> None:
    """Rank the configurations of EXPERIMENT, or of all, with their seeds folded."""
    from mlfd_tune import tracking

    rows = tracking.leaderboard(
        uri, experiment, dataset=dataset, method=method, status=status, all_runs=all_runs
    )
    if form == "table":
        out = console()
        for item in tracking.rich_tables(rows):
            out.print(item)
    else:
        click.echo(tracking.render(rows, form), nl=False)


@click.command()
@click.argument("experiment")
@click.option(
    "-o",
    "--output",
    type=click.Path(path_type=Path, file_okay=False),
    default=Path("exports"),
    show_default=True,
    help="Folder to write to.",
)
@click.option("--dataset", help="Only this dataset.")
@store_path
@tracking_uri
def export(experiment: str, output: Path, dataset: str | None, store: str, uri: str) -> None:
    """Write the best configuration of every dataset of EXPERIMENT, and its weights."""
    from mlfd_tune.tracking.export import export_best

    out = console()
    for item in export_best(uri, experiment, output, store, dataset):
        weights = f" and {item.weights}" if item.weights else " (weights are not in the store)"
        out.print(f"{item.row.dataset}: {item.config}{weights}  [{item.row.status}]", markup=False)
        if item.better_control is not None:
            out.print(
                f"  note: {item.better_control.method} scores higher on validation",
                highlight=False,
            )


@click.command()
@click.option("--port", default=5000, show_default=True)
@click.option("--host", default="127.0.0.1", show_default=True)
@tracking_uri
def ui(port: int, host: str, uri: str) -> None:
    """Open MLflow's web interface on the tracking database."""
    from mlfd_tune.core.errors import UserError
    from mlfd_tune.tracking import check_uri

    check_uri(uri)
    if uri.startswith("http"):
        raise UserError(f"--uri: {uri} is a server already; open it in a browser")
    click.echo(f"http://{host}:{port}")
    command = [sys.executable, "-m", "mlflow", "server", "--backend-store-uri", uri]
    command += ["--host", host, "--port", str(port), "--workers", "1"]
    os.execv(sys.executable, command)
