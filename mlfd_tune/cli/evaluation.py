"""`evaluate`: everything about a finished network. What it does is in `evaluating`."""

from __future__ import annotations

from pathlib import Path

import click

from mlfd_tune.cli.options import examples
from mlfd_tune.core.errors import UserError

__all__ = ["evaluate"]


@click.command(
    epilog=examples(
        "mlfd-tune evaluate exports/digits.yaml",
        "mlfd-tune evaluate exports/digits.yaml --with none,teacher,joint_teacher,own_teacher",
        "mlfd-tune evaluate exports/digits.yaml --transfer mine=folder:pictures --no-log",
    )
)
@click.argument("config", type=click.Path(path_type=Path))
@click.option(
    "--with",
    "beside",
    metavar="LIST",
    help="What to evaluate beside the student, joined by commas: `teacher` for the dataset's own, "
    "and methods such as none, own_teacher and joint_teacher. By default none and teacher, and "
    "joint_teacher where the method fuses teachers.",
)
@click.option(
    "--transfer",
    "transfers",
    multiple=True,
    metavar="NAME=SOURCE[:PATH]",
    help="Measure the embeddings on a dataset that no teacher has seen, too, such as "
    "mine=folder:pictures. May be repeated.",
)
@click.option(
    "-o",
    "--output",
    metavar="FOLDER",
    type=click.Path(path_type=Path, file_okay=False),
    help="Folder to write to; evaluation/<dataset> by default.",
)
@click.option(
    "--uri",
    metavar="URI",
    help="MLflow tracking URI; by default that of the run CONFIG was exported from, else CONFIG's.",
)
@click.option("--no-log", is_flag=True, help="Write files only, and nothing to MLflow.")
@click.option(
    "--device",
    metavar="NAME",
    help="Torch device: cpu, cuda or cuda:1; a GPU where there is one.",
)
@click.option(
    "--set",
    "overrides",
    multiple=True,
    metavar="KEY=VALUE",
    help="Override a key, such as --set method=kd. The value is YAML. May be repeated.",
)
@click.option(
    "--json", "json_", is_flag=True, help="Print the results as JSON; progress goes to stderr."
)
def evaluate(
    config: Path,
    beside: str | None,
    transfers: tuple[str, ...],
    output: Path | None,
    uri: str | None,
    no_log: bool,
    device: str | None,
    overrides: tuple[str, ...],
    json_: bool,
) -> None:
    """Evaluate a student in full on the test split.

    CONFIG is a file with `kind: train`, such as an exported one. The student and what stands beside
    it are trained, or taken from the store. Told are accuracy, also of each class, calibration,
    k-NN and linear probe on the frozen embeddings, size and speed; tables and pictures are written
    to a folder and logged to MLflow.
    """
    if uri and no_log:
        raise UserError("--uri: is of no use with --no-log")
    from mlfd_tune.config import load_experiment

    loaded = load_experiment(config, overrides)
    kind = loaded.raw["kind"]
    if kind != "train":
        raise UserError(
            f"{config}: kind: `mlfd-tune evaluate` takes one student, not a whole {kind}; run it, "
            f"write its best configurations with `mlfd-tune export {loaded.name}` and evaluate "
            "one of these"
        )
    from mlfd_tune.cli.evaluating import Request, evaluate_one

    evaluate_one(loaded, Request(beside, transfers, output, uri, not no_log, device, json_))
