"""`data`: what there is to learn from, whether it is in order, and getting it."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import click

from mlfd_tune.cli.options import Group, as_json, console, examples, print_json, print_table
from mlfd_tune.cli.terminal import echo
from mlfd_tune.core.errors import UserError, allowed_values

if TYPE_CHECKING:
    from mlfd_tune.core.data import DatasetReport, DatasetSpec
    from mlfd_tune.core.data.check_images import ImageSummary
    from mlfd_tune.core.data.prepare import Prepared

__all__ = ["data"]


@click.group(cls=Group)
def data() -> None:
    """List, check and prepare datasets."""


@data.command("list")
@as_json
def data_list(json_: bool) -> None:
    """List the dataset sources.

    The counts of a published dataset are those it has when it is whole; a source of your own files
    has none.

    With --json, a list of objects: name, description, classes, train_images, val_images and
    test_images (null where they are not known or are carved from the training images), flip (may
    its images be mirrored), path (required, optional or none), problem (what is missing to use it,
    or null).
    """
    from mlfd_tune.core.data import list_datasets

    rows = list_datasets()
    if json_:
        print_json([asdict(row) for row in rows])
        return
    print_table(
        ("source", "classes", "train", "val", "test", ""),
        [
            (
                row.name,
                row.classes,
                row.train_images,
                row.val_images,
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
        "mlfd-tune data check path/to/list.csv",
        "mlfd-tune data check cifar100:data/cifar-100-python --sheet cifar100.png",
        "mlfd-tune data check experiments/quickstart.yaml",
    ),
)
@click.argument("what")
@click.option(
    "--sheet",
    type=click.Path(dir_okay=False, path_type=Path),
    metavar="FILE.png",
    help="Also draw some training images of every class, at most 20 classes.",
)
@click.option(
    "--sheet-images",
    type=click.IntRange(1, 32),
    metavar="COUNT",
    default=8,
    show_default=True,
    help="Images of each class on the sheet.",
)
@as_json
def data_check(what: str, sheet: Path | None, sheet_images: int, json_: bool) -> None:
    """Open every image and report what is wrong.

    WHAT is a built-in source, a dataset folder, a CSV file, SOURCE:PATH, or an experiment file,
    whose datasets are checked one by one. Exits with 2 where a dataset cannot be used.

    With --json, a list of objects: ok, name, source, path, classes, counts (by split, then by
    class), images (sizes, min_side, median_side, max_side, grey, colour; null where none can be
    opened), problems, warnings, sheet (the file drawn, or null).
    """
    from mlfd_tune.core.data import check_dataset

    if sheet is not None and sheet.suffix.lower() != ".png":
        raise UserError(f"--sheet {sheet}: the file's name must end in .png")
    specs = _asked_for(what)
    reports = []
    for name, spec in specs.items():
        with _bar(name) as progress:
            report = check_dataset(name, spec, progress)
        drawn = None
        if sheet is not None:
            file = sheet if len(specs) == 1 else sheet.with_stem(f"{sheet.stem}-{name}")
            drawn = _draw_sheet(file, name, spec, sheet_images)
        reports.append((report, drawn))
    if json_:
        print_json(
            [
                {"ok": report.ok, **asdict(report), "sheet": drawn and str(drawn)}
                for report, drawn in reports
            ]
        )
    else:
        for report, drawn in reports:
            _print_report(report, drawn)
    if not all(report.ok for report, _ in reports):
        sys.exit(2)


@data.command(
    "prepare",
    epilog=examples(
        "mlfd-tune data prepare cifar100 data/cifar100",
        "mlfd-tune data prepare cifar100 data/cifar100 --download",
    ),
)
@click.argument("source")
@click.argument("folder", type=click.Path(file_okay=False, path_type=Path))
@click.option("--download", is_flag=True, help="Download it where it is missing.")
@as_json
def data_prepare(source: str, folder: Path, download: bool, json_: bool) -> None:
    """Get a published dataset, or say how to.

    Where FOLDER holds the dataset, says so and shows the lines for an experiment file. Where it
    does not, says what to put there and exits with 2. Nothing is downloaded without --download.

    With --json, an object: source, ready, path and, where it is ready, classes, images (by split)
    and notes; else problems and instructions.
    """
    from mlfd_tune.core.data import prepare

    try:
        ready = prepare.find(source, folder)
    except UserError as missing:
        if source not in prepare.published_sources():
            raise
        if not (download and prepare.can_download(source)):
            lines = list(missing.problems)
            if download:
                lines.append(f"{source} cannot be downloaded by this command, only by hand")
            _print_missing(source, folder, lines, json_)
            sys.exit(2)
        prepare.download(source, folder)
        ready = prepare.find(source, folder)
    if json_:
        print_json({"ready": True, **asdict(ready)})
    else:
        _print_prepared(ready)


def _asked_for(what: str) -> dict[str, DatasetSpec]:
    """Return the datasets that the argument of `data check` names."""
    from mlfd_tune.core.data import DATASETS

    source, colon, path = what.partition(":")
    if colon and source in DATASETS:
        return {Path(path).stem or source: _spec(what, source, path)}
    if what in DATASETS:
        if DATASETS[what].path == "required":
            raise UserError(f"{what}: this source needs a path: {what}:PATH")
        return {what: _spec(what, what, None)}
    if what.endswith((".yaml", ".yml")):
        from mlfd_tune.config import load_experiment

        return dict(load_experiment(what).config.datasets)
    if Path(what).is_dir():
        return {Path(what).resolve().name: _spec(what, "folder", what)}
    if colon and not Path(what).exists():
        known = allowed_values(source, DATASETS)
        raise UserError(f"{what}: unknown dataset source {source!r} {known}")
    if Path(what).suffix.lower() == ".csv":
        return {Path(what).stem: _spec(what, "csv", what)}
    known = allowed_values(what, _sources_without_a_folder())
    raise UserError(f"{what}: no such folder, CSV file, experiment file or source {known}")


def _spec(what: str, source: str, path: str | None) -> DatasetSpec:
    from pydantic import ValidationError

    from mlfd_tune.core.data import DatasetSpec

    try:
        return DatasetSpec(source=source, path=path)
    except ValidationError as error:
        told = (problem["msg"].removeprefix("Value error, ") for problem in error.errors())
        raise UserError(*(f"{what}: {problem}" for problem in told)) from None


def _sources_without_a_folder() -> list[str]:
    from mlfd_tune.core.data import DATASETS

    names = []
    for name in DATASETS:
        with suppress(UserError):  # of a package that does not work
            if DATASETS[name].path == "none":
                names.append(name)
    return names


@contextmanager
def _bar(name: str) -> Iterator[Callable[[int, int], None]]:
    """Show a bar while a dataset's images are opened, where somebody looks at the terminal."""
    from rich.progress import Progress

    out = console(stderr=True)
    with Progress(console=out, transient=True, disable=not out.is_terminal) as bars:
        task = bars.add_task(name, total=None)
        yield lambda done, total: bars.update(task, completed=done, total=total)


def _draw_sheet(file: Path, name: str, spec: DatasetSpec, per_class: int) -> Path | None:
    """Draw the contact sheet of a dataset; None where it has no images that could be shown."""
    from mlfd_tune.core.data import load_dataset
    from mlfd_tune.core.data.contact_sheet import contact_sheet

    try:
        ready = load_dataset(spec)
    except UserError:  # told by the report
        return None
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        contact_sheet(ready, name, per_class, seed=spec.split_seed).save(file)
    except OSError as error:
        raise UserError(f"--sheet {file}: cannot be written: {error.strerror or error}") from error
    return file


def _print_report(report: DatasetReport, sheet: Path | None) -> None:
    out = console()
    sizes = ", ".join(f"{sum(c.values())} {split}" for split, c in report.counts.items())
    verdict = "in order" if report.ok else "cannot be used"
    lines = [f"{report.name}: {verdict}; {len(report.classes)} classes; {sizes or 'no images'}"]
    if report.images is not None:
        lines.append(f"  images: {_in_words(report.images)}")
    lines += [f"  error: {line}" for line in report.problems]
    lines += [f"  note: {line}" for line in report.warnings]
    if sheet is not None:
        lines.append(f"  sheet: {sheet}")
    for line in lines:
        out.print(line, highlight=False, markup=False)


def _in_words(images: ImageSummary) -> str:
    if images.min_side == images.max_side:
        sides = f"all {images.min_side} x {images.max_side} pixels"
    else:
        sizes = "all of one size" if images.sizes == 1 else f"{images.sizes} sizes"
        sides = (
            f"{sizes}, sides of {images.min_side} to {images.max_side} pixels, "
            f"median {images.median_side:g}"
        )
    return f"{sides}; {images.colour} in colour, {images.grey} grey"


def _print_missing(source: str, folder: Path, problems: list[str], json_: bool) -> None:
    from mlfd_tune.core.data.prepare import instructions

    told = instructions(source, folder)
    if json_:
        missing = {"problems": problems, "instructions": told}
        print_json({"source": source, "ready": False, "path": str(folder), **missing})
        return
    for problem in problems:
        echo(f"error: {problem}", err=True)
    echo(told, err=True)


def _print_prepared(ready: Prepared) -> None:
    sizes = ", ".join(f"{count} {split}" for split, count in ready.images.items())
    echo(f"{ready.source}: ready in {ready.path}; {ready.classes} classes; {sizes}")
    for note in ready.notes:
        echo(f"  note: {note}")
    echo("For an experiment file:")
    echo(f"  datasets:\n    {ready.source}:\n      source: {ready.source}")
    echo(f"      path: {ready.path}")
