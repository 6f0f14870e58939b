"""`plot`: figures of an experiment, as files and among its artifacts in MLflow."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from mlfd_tune.cli.figure_files import FIGURES, described, file_name, tell
from mlfd_tune.cli.options import (
    Group,
    as_json,
    console,
    examples,
    print_json,
    print_table,
    runs_folder,
    store_path,
    tracking_uri,
)

if TYPE_CHECKING:
    from mlfd_tune.report.curves import Curve
    from mlfd_tune.report.scaling import ScalingRow

__all__ = ["plot"]

Command = TypeVar("Command", bound=Callable[..., Any])


@click.group(cls=Group)
def plot() -> None:
    """Draw figures of an experiment."""


def _figure_options(command: Command) -> Command:
    options = (
        click.option(
            "-o",
            "--output",
            metavar="FOLDER",
            type=click.Path(path_type=Path, file_okay=False),
            default=Path("figures"),
            show_default=True,
            help="Folder to write to.",
        ),
        click.option("--run", metavar="ID", help="This run; the latest finished one by default."),
        click.option("--no-log", is_flag=True, help="Files only, nothing is added to MLflow."),
    )
    for option in reversed(options):
        command = option(command)
    return command


@plot.command(
    "curves",
    epilog=examples(
        "mlfd-tune plot curves quickstart",
        "mlfd-tune plot curves compare_methods --dataset letters --metric train/loss -o pictures",
    ),
)
@click.argument("experiment")
@click.option("--dataset", metavar="NAME", help="Only this dataset.")
@click.option(
    "--method",
    "methods",
    multiple=True,
    metavar="NAME",
    help="Only this method, such as mlfd or none. May be repeated.",
)
@click.option(
    "--metric",
    default="val/acc1",
    show_default=True,
    metavar="NAME",
    help="What was logged after every epoch, such as val/acc5 or train/loss.",
)
@_figure_options
@tracking_uri
@as_json
def plot_curves(
    experiment: str,
    dataset: str | None,
    methods: tuple[str, ...],
    metric: str,
    output: Path,
    run: str | None,
    no_log: bool,
    uri: str,
    json_: bool,
) -> None:
    """Draw accuracy or loss epoch by epoch.

    Of the confirmations of a sweep's best configurations, or of an ablation's arms, with the
    teachers and joint teachers they learned from; the paper's Figures 2 to 4. The figure is added
    to the artifacts of the sweep's or ablation's run.
    """
    from mlfd_tune.report.curves import curves_figure
    from mlfd_tune.report.figures import save_figure
    from mlfd_tune.report.histories import curves_of
    from mlfd_tune.report.runs import finished_run

    found = finished_run(uri, experiment, run, dataset)
    curves = curves_of(uri, found, metric, methods)
    figure = curves_figure(curves, metric, f"{experiment}, run {found.id}")
    name = file_name("curves", metric, *filter(None, (dataset,)), *methods)
    files = save_figure(figure, output / file_name(experiment) / name)
    logged = None if no_log else _log(uri, found.run_id, files)
    if json_:
        told = described(experiment, found.id, files, logged)
        print_json(told | {"metric": metric, "curves": list(map(_curve, curves))})
        return
    print_table(
        ("dataset", "curve", "role", "seeds", "last epoch", metric),
        [(c.dataset, c.label, c.role, c.seeds, int(c.epochs[-1]), _last(c)) for c in curves],
    )
    tell(files, logged)


@plot.command(
    "scaling",
    epilog=examples(
        "mlfd-tune plot scaling number_of_teachers",
        "mlfd-tune plot scaling number_of_teachers --store /data/store --json",
    ),
)
@click.argument("experiment")
@click.option(
    "--method",
    default="mlfd",
    show_default=True,
    metavar="NAME",
    help="The method whose students are judged.",
)
@_figure_options
@store_path
@tracking_uri
@as_json
def plot_scaling(
    experiment: str,
    method: str,
    output: Path,
    run: str | None,
    no_log: bool,
    store: str,
    uri: str,
    json_: bool,
) -> None:
    """Draw what more teachers gain and cost.

    EXPERIMENT is an ablation whose factors are `joint_teacher.teachers`, lists of 2, 4, 8, ...
    datasets, and `method` with none among its values. Gains come from MLflow; seconds and bytes of
    every stage come from the store, and a power law is fitted to them.
    """
    from mlfd_tune.core.store import Store
    from mlfd_tune.report.figures import save_figure
    from mlfd_tune.report.runs import finished_run
    from mlfd_tune.report.scaling import power_laws, scaling_of
    from mlfd_tune.report.scaling_figure import scaling_figure

    found = finished_run(uri, experiment, run)
    rows = scaling_of(found, experiment, Store(store), method)
    figure = scaling_figure(rows, f"{experiment}, run {found.id}: {method}")
    files = save_figure(figure, output / file_name(experiment) / file_name("scaling", method))
    logged = None if no_log else _log(uri, found.run_id, files)
    if json_:
        laws = {of: power_laws(rows, of) for of in ("seconds", "bytes")}
        told = {
            "method": method,
            "rows": [asdict(row) | {"undecided": row.undecided} for row in rows],
            "power_laws": {
                of: {stage: asdict(law) for stage, law in fitted.items()}
                for of, fitted in laws.items()
            },
        }
        print_json(described(experiment, found.id, files, logged) | told)
        return
    _print_scaling(rows)
    tell(files, logged)


@plot.command(
    "timeline",
    epilog=examples(
        "mlfd-tune plot timeline quickstart",
        "mlfd-tune plot timeline quickstart --run 20260102-030405 --no-log",
        "mlfd-tune plot timeline runs/quickstart/20260102-030405",
    ),
)
@click.argument("experiment")
@runs_folder("The folder of all runs.")
@_figure_options
@tracking_uri
@as_json
def plot_timeline(
    experiment: str,
    runs: Path,
    output: Path,
    run: str | None,
    no_log: bool,
    uri: str,
    json_: bool,
) -> None:
    """Draw which worker did what when.

    EXPERIMENT is an experiment's name or the folder of one of its runs, which may go on meanwhile.
    One lane is one place that stages and trials run on; white is idle. Unlike other figures, this
    one is of the latest run, finished or not.
    """
    from mlfd_tune.cli.profiling import log_to_parent
    from mlfd_tune.report.figures import save_figure
    from mlfd_tune.report.lanes import lanes_of, shares_of, starts_of
    from mlfd_tune.report.timeline import timeline_figure
    from mlfd_tune.tune.timeline import TIMELINE, find_run, read_timeline

    given = Path(experiment)
    is_folder = run is None and (given / TIMELINE).is_file()
    folder = given.resolve() if is_folder else find_run(runs, experiment, run)
    name, sessions = folder.parent.name, read_timeline(folder)
    figure = timeline_figure(sessions, f"{name}, run {folder.name}")
    files = save_figure(figure, output / file_name(name) / file_name("timeline", folder.name))
    logged = None if no_log else log_to_parent(folder, uri, files, FIGURES)
    if json_:
        lanes = lanes_of(sessions)
        shares = shares_of(sessions, len(lanes))
        told = {
            "seconds": starts_of(sessions)[-1],
            "workers": len(lanes),
            "busy": shares.busy,
            "shares": asdict(shares),
            "lanes": [[asdict(bar) for bar in lane.bars] for lane in lanes],
        }
        print_json(described(name, folder.name, files, logged) | told)
        return
    tell(files, logged)


def _print_scaling(rows: Sequence[ScalingRow]) -> None:
    from mlfd_tune.report.scaling_tables import GAINS, cost_table, gain_cells, verdict

    out = console()
    print_table(GAINS, map(gain_cells, rows))
    out.print(verdict(rows), highlight=False, markup=False)
    seconds, megabytes = cost_table(rows, "seconds"), cost_table(rows, "bytes")
    for name, (columns, lines) in (("seconds", seconds), ("MB", megabytes)):
        out.print(f"\n{name} per stage:", highlight=False)
        print_table(columns, lines)


def _curve(curve: Curve) -> dict[str, Any]:
    def listed(values: Any) -> list[float] | None:
        return None if values is None else values.tolist()

    return {
        "dataset": curve.dataset,
        "label": curve.label,
        "role": curve.role,
        "seeds": curve.seeds,
        "epochs": listed(curve.epochs),
        "mean": listed(curve.mean),
        "low": listed(curve.low),
        "high": listed(curve.high),
    }


def _last(curve: Curve) -> str:
    mean = f"{curve.mean[-1]:.2f}"
    if curve.low is None or curve.high is None:
        return mean
    return f"{mean} [{curve.low[-1]:.2f}, {curve.high[-1]:.2f}]"


def _log(uri: str, run_id: str, files: Sequence[Path]) -> str:
    from mlfd_tune.tracking.artifacts import log_to_run

    log_to_run(uri, run_id, files, FIGURES, {})
    return run_id
