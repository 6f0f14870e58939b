"""`importance`: which hyperparameters mattered in a sweep."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Final

import click

from mlfd_tune.cli.figure_files import FIGURES, described, file_name, tell
from mlfd_tune.cli.options import (
    as_json,
    console,
    examples,
    print_json,
    print_table,
    runs_folder,
    tracking_uri,
)
from mlfd_tune.core.errors import UserError

if TYPE_CHECKING:
    from mlfd_tune.tune.importance import ImportanceReport

__all__ = ["importance"]

_PAIRS: Final = 5  # of a dataset, in the terminal

Line = tuple[object, ...]


@click.command(
    epilog=examples(
        "mlfd-tune importance quickstart --rung 5",
        "mlfd-tune importance t1_sweep --dataset cifar100 -o figures",
        "mlfd-tune importance runs/quickstart/20260102-030405 --rung 5 --json",
    )
)
@click.argument("experiment")
@click.option(
    "--rung",
    type=click.IntRange(min=1),
    metavar="EPOCH",
    help="Compare values at this epoch; at the last one by default.",
)
@click.option("--dataset", metavar="NAME", help="Only this dataset.")
@click.option("--run", metavar="ID", help="This run; the latest one by default.")
@runs_folder("The folder of all runs.")
@click.option(
    "-o",
    "--output",
    metavar="FOLDER",
    type=click.Path(path_type=Path, file_okay=False),
    help="Draw figures, too, and write them to this folder.",
)
@click.option("--no-log", is_flag=True, help="Files only, nothing is added to MLflow.")
@tracking_uri
@as_json
def importance(
    experiment: str,
    rung: int | None,
    dataset: str | None,
    run: str | None,
    runs: Path,
    output: Path | None,
    no_log: bool,
    uri: str,
    json_: bool,
) -> None:
    """Tell which hyperparameters mattered in a sweep.

    EXPERIMENT is a sweep's name or the folder of one of its runs, which may go on meanwhile. Shares
    of variance (fANOVA) and what sets the best trials apart (PED-ANOVA), with figures of the curve
    along each parameter and of pairs that act together. Only values at one epoch are compared:
    --rung 5 has every trial that got that far, the last epoch only those that ran to the end.
    """
    from mlfd_tune.cli.profiling import log_to_parent
    from mlfd_tune.tune.importance import importance_of

    folder = _folder(experiment, run, runs)
    name = folder.parent.name
    report = importance_of(_studies(folder), rung=rung, dataset=dataset)
    files, logged = [], None
    if output is not None:
        told = [folder.name, *([f"epoch{rung}"] if rung else []), *([dataset] if dataset else [])]
        files = _draw(report, f"{name}, run {folder.name}", output / file_name(name), told)
        logged = None if no_log else log_to_parent(folder, uri, files, FIGURES)
    if json_:
        print_json(described(name, folder.name, files, logged) | asdict(report))
        return
    _print(report)
    if files:
        tell(files, logged)


def _folder(experiment: str, run: str | None, runs: Path) -> Path:
    from mlfd_tune.tune.run_folder import RunFolder
    from mlfd_tune.tune.timeline import find_run

    given = Path(experiment)
    is_folder = run is None and RunFolder(given).studies.is_file()
    return given.resolve() if is_folder else find_run(runs, experiment, run)


def _studies(folder: Path) -> Path:
    from mlfd_tune.tune.run_folder import RunFolder

    studies = RunFolder(folder).studies
    if not studies.is_file():
        raise UserError(
            f"{folder}: has no {studies.name}; importances are of a sweep, an ablation's table "
            "says what its factors do"
        )
    return studies


def _draw(report: ImportanceReport, title: str, folder: Path, told: Sequence[str]) -> list[Path]:
    from mlfd_tune.report.figures import save_figure
    from mlfd_tune.report.importance_figure import importance_figure, marginals_figure
    from mlfd_tune.report.interactions_figure import interactions_figure

    figures = {"importance": importance_figure(report, title)}
    if report.marginals:
        figures["marginals"] = marginals_figure(report, title)
    if report.interactions:
        figures["interactions"] = interactions_figure(report, title)
    return [
        file
        for kind, figure in figures.items()
        for file in save_figure(figure, folder / file_name(kind, *told))
    ]


def _print(report: ImportanceReport) -> None:
    print_table(
        ("dataset", "parameter", "points", "fANOVA", "PED-ANOVA", "R² unseen"), _share_lines(report)
    )
    pairs = list(_pair_lines(report))
    if pairs:
        console().print(f"\nStrongest interactions, up to {_PAIRS} of a dataset:", highlight=False)
        print_table(("dataset", "parameter", "and", "Friedman's H"), pairs)
    console().print()
    for note in report.notes:
        console().print(note, highlight=False, markup=False)


def _share_lines(report: ImportanceReport) -> Iterator[Line]:
    """Yield each parameter's shares; the largest first, those of fewer points after."""
    of_evaluator = {
        (one.dataset, one.evaluator, name): share
        for one in report.importances
        for name, share in one.values.items()
    }
    for one in report.importances:
        if one.evaluator == "fanova":
            for name, share in one.values.items():
                other = of_evaluator[one.dataset, "ped_anova", name]
                unseen = f"{report.explained[one.dataset]:.2f}"
                yield one.dataset, name, one.trials, f"{share:.2f}", f"{other:.2f}", unseen


def _pair_lines(report: ImportanceReport) -> Iterator[Line]:
    """Yield the strongest pairs of the datasets whose forest explains anything."""
    from mlfd_tune.tune.importance import NOTHING_EXPLAINED

    for dataset, explained in report.explained.items():
        if explained < NOTHING_EXPLAINED:
            continue
        own = [one for one in report.interactions if one.dataset == dataset and one.strength > 0]
        for one in own[:_PAIRS]:
            yield dataset, one.first, one.second, f"{one.strength:.2f}"
