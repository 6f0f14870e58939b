"""`report`: one page that tells everything about a run."""

from __future__ import annotations

from pathlib import Path

import click

from mlfd_tune.cli.options import (
    as_json,
    examples,
    print_json,
    runs_folder,
    store_path,
    tracking_uri,
)
from mlfd_tune.cli.terminal import echo

__all__ = ["report"]

_FOLDER = "report"  # among a run's artifacts


@click.command(
    epilog=examples(
        "mlfd-tune report quickstart",
        "mlfd-tune report quickstart -o quickstart.html --run 20260102-030405 --no-log",
        "mlfd-tune report compare_methods --runs /data/runs --store /data/store",
    )
)
@click.argument("experiment")
@click.option(
    "-o",
    "--output",
    metavar="FILE",
    type=click.Path(path_type=Path, dir_okay=False),
    default=Path("report.html"),
    show_default=True,
    help="The page to write.",
)
@click.option("--run", metavar="ID", help="This run; the latest finished one by default.")
@runs_folder("The folder of all runs: timelines and the records of searches are there.")
@click.option("--no-log", is_flag=True, help="Write the file only, and nothing to MLflow.")
@store_path
@tracking_uri
@as_json
def report(
    experiment: str,
    output: Path,
    run: str | None,
    runs: Path,
    no_log: bool,
    store: str,
    uri: str,
    json_: bool,
) -> None:
    """Write one page that tells everything about a run.

    EXPERIMENT is the name of a sweep or ablation. The page opens without a network, on a laptop or
    a phone: results with intervals, curves, the search, comparisons, stages, and for every figure
    how to reproduce it. Nothing is trained and no test split is read for it.
    """
    from mlfd_tune.core.errors import UserError
    from mlfd_tune.core.store.artifact import write_atomically
    from mlfd_tune.report.page import build_sections, gather, render
    from mlfd_tune.tracking.artifacts import log_to_run

    material = gather(uri, experiment, run, runs, store)
    sections = build_sections(material)
    content = render(material, sections).encode()
    try:
        output.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(output, content)
    except OSError as error:
        raise UserError(f"--output {output}: cannot be written: {error.strerror}") from None
    run_id = material.parent.run_id
    if not no_log:
        log_to_run(uri, run_id, [output], _FOLDER, {})
    if json_:
        print_json(
            {
                "experiment": experiment,
                "run": material.parent.id,
                "file": str(output),
                "bytes": len(content),
                "sections": [
                    {"id": one.id, "title": one.title, "empty": one.is_empty} for one in sections
                ],
                "logged_to": None if no_log else run_id,
            }
        )
        return
    empty = [section.title for section in sections if section.is_empty]
    echo(f"{output}: {len(sections)} sections, {len(content) / 1e6:.1f} MB")
    if empty:
        echo(f"without data: {', '.join(empty)} (the page says how to get them)")
    if not no_log:
        echo(f"also in MLflow: run {run_id}, {_FOLDER}/")
