"""`data` and `models`: what there is to learn from and to learn with."""

from __future__ import annotations

import sys
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

import click

from mlfd_tune.cli.options import Group, as_json, console, examples, print_json, print_table
from mlfd_tune.core.errors import UserError, allowed_values, nearest

if TYPE_CHECKING:
    from mlfd_tune.core.data import DatasetReport
    from mlfd_tune.core.models.timm_levels import LevelPlan

__all__ = ["data", "models"]


@click.group(cls=Group)
def data() -> None:
    """Look at datasets."""


@data.command("list")
@as_json
def data_list(json_: bool) -> None:
    """List the dataset sources."""
    from mlfd_tune.core.data import list_datasets

    rows = list_datasets()
    if json_:
        print_json([row.__dict__ for row in rows])
        return
    print_table(
        ("source", "classes", "train", "test", ""),
        [
            (
                row.name,
                row.classes,
                row.train_images,
                row.test_images,
                row.problem or row.description,
            )
            for row in rows
        ],
    )


@data.command(
    "check",
    epilog=examples(
        "mlfd-tune data check digits",
        "mlfd-tune data check path/to/folder",
        "mlfd-tune data check experiments/quickstart.yaml",
    ),
)
@click.argument("what")
@as_json
def data_check(what: str, json_: bool) -> None:
    """Open every image and report what is wrong.

    WHAT is a built-in source, a dataset folder, or an experiment file. Exits with 2 where a dataset
    cannot be used.
    """
    from mlfd_tune.core.data import DATASETS, DatasetSpec, check_dataset

    if what in DATASETS and DATASETS[what].path == "none":
        specs = {what: DatasetSpec(source=what)}
    elif what.endswith((".yaml", ".yml")):
        from mlfd_tune.config import load_experiment

        specs = dict(load_experiment(what).config.datasets)
    elif Path(what).is_dir():
        specs = {Path(what).name: DatasetSpec(source="folder", path=what)}
    else:
        known = allowed_values(what, _sources_without_a_folder())
        raise UserError(f"{what}: no such folder, experiment file or source {known}")
    reports = [check_dataset(name, spec) for name, spec in specs.items()]
    if json_:
        print_json([{"ok": report.ok, **report.__dict__} for report in reports])
    else:
        for report in reports:
            _print_report(report)
    if not all(report.ok for report in reports):
        sys.exit(2)


def _sources_without_a_folder() -> list[str]:
    from mlfd_tune.core.data import DATASETS

    names = []
    for name in DATASETS:
        with suppress(UserError):  # of a package that does not work
            if DATASETS[name].path == "none":
                names.append(name)
    return names


def _print_report(report: DatasetReport) -> None:
    out = console()
    sizes = ", ".join(f"{sum(c.values())} {split}" for split, c in report.counts.items())
    verdict = "in order" if report.ok else "cannot be used"
    out.print(f"{report.name}: {verdict}; {len(report.classes)} classes; {sizes}", highlight=False)
    for line in report.problems:
        out.print(f"  error: {line}", highlight=False, markup=False)
    for line in report.warnings:
        out.print(f"  note: {line}", highlight=False, markup=False)


@click.group(cls=Group)
def models() -> None:
    """Look at timm models."""


@models.command("list")
@click.argument("pattern", default="*")
@as_json
def models_list(pattern: str, json_: bool) -> None:
    """List timm's models.

    PATTERN narrows it down, such as '*resnet*' or 'test_*'.
    """
    import timm

    names = timm.list_models(pattern)
    if not names and not json_:
        raise UserError(
            f"{pattern}: no model of that name {_near(pattern.strip('*'), timm.list_models())}"
        )
    print_json(names) if json_ else click.echo("\n".join(names))


@models.command("levels")
@click.argument("arch")
@click.option(
    "--image-size",
    type=click.IntRange(8, 1024),
    metavar="PIXELS",
    default=32,
    show_default=True,
    help="Side of the square images in pixels.",
)
@as_json
def models_levels(arch: str, image_size: int, json_: bool) -> None:
    """Show the levels of an architecture.

    With each level of ARCH, the shape of one image's features: channels, height, width; and how it
    is found: by stride, or in plain transformers and mixers by depth.
    """
    from mlfd_tune.core.models.timm_levels import plan_levels

    plan = plan_levels(arch, image_size)
    if json_:
        print_json({level: list(shape) for level, shape in plan.shapes.items()})
        return
    rows = [
        (level, " x ".join(map(str, shape)), _taken_from(plan, level))
        for level, shape in plan.shapes.items()
    ]
    print_table(("level", "shape", "taken from"), rows)
    click.echo(f"Levels are found by {plan.found}.")


def _taken_from(plan: LevelPlan, level: str) -> str:
    from mlfd_tune.core.models.levels import stride

    if level not in plan.indices:
        return "what the classifier takes"
    if plan.found == "depth":
        where = f"block {plan.indices[level] + 1}"
    else:
        where = f"the last map of stride {stride(level)}"
    return f"{where}, resized" if level in plan.resize else where


def _near(name: str, known: list[str]) -> str:
    match = nearest(name, known)
    return f"(allowed: {len(known)} names{f'; did you mean {match!r}?' if match else ''})"
