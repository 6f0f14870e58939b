"""`data`, `models`, `store` and `doctor`: what is there and whether it is in order."""

from __future__ import annotations

import re
import shutil
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

import click

from mlfd_tune.cli.options import (
    as_json,
    console,
    print_json,
    print_table,
    store_path,
    tracking_uri,
)
from mlfd_tune.core.errors import UserError

if TYPE_CHECKING:
    from mlfd_tune.core.data import DatasetReport
    from mlfd_tune.core.store import Store

__all__ = ["data", "doctor", "models", "store"]


@click.group()
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


@data.command("check")
@click.argument("what")
@as_json
def data_check(what: str, json_: bool) -> None:
    """Open every image of WHAT: a source's name, a dataset folder, or an experiment file."""
    from mlfd_tune.core.data import DATASETS, DatasetSpec, check_dataset

    if what in DATASETS and what != "folder":
        specs = {what: DatasetSpec(source=what)}
    elif what.endswith((".yaml", ".yml")):
        from mlfd_tune.config import load_experiment

        specs = dict(load_experiment(what).config.datasets)
    elif Path(what).is_dir():
        specs = {Path(what).name: DatasetSpec(source="folder", path=what)}
    else:
        from mlfd_tune.core.errors import allowed_values

        names = [name for name in DATASETS if name != "folder"]
        raise UserError(
            f"{what}: no such folder, experiment file or source {allowed_values(what, names)}"
        )
    reports = [check_dataset(name, spec) for name, spec in specs.items()]
    if json_:
        print_json([report.__dict__ for report in reports])
    else:
        for report in reports:
            _print_report(report)
    if not all(report.ok for report in reports):
        sys.exit(2)


def _print_report(report: DatasetReport) -> None:
    out = console()
    sizes = ", ".join(f"{sum(c.values())} {split}" for split, c in report.counts.items())
    verdict = "in order" if report.ok else "cannot be used"
    out.print(f"{report.name}: {verdict}; {len(report.classes)} classes; {sizes}", highlight=False)
    for line in report.problems:
        out.print(f"  error: {line}", highlight=False, markup=False)
    for line in report.warnings:
        out.print(f"  note: {line}", highlight=False, markup=False)


@click.group()
def models() -> None:
    """Look at timm models."""


@models.command("list")
@click.argument("pattern", default="*")
@as_json
def models_list(pattern: str, json_: bool) -> None:
    """List timm's models whose names match PATTERN, such as '*resnet*'."""
    import timm

    names = timm.list_models(pattern)
    print_json(names) if json_ else click.echo("\n".join(names) or f"no model matches {pattern}")


@models.command("levels")
@click.argument("arch")
@click.option("--image-size", default=32, show_default=True)
@as_json
def models_levels(arch: str, image_size: int, json_: bool) -> None:
    """Show the levels ARCH has, with the shape of one image's features."""
    from mlfd_tune.core.models import level_shapes

    shapes = level_shapes(arch, image_size)
    if json_:
        print_json({level: list(shape) for level, shape in shapes.items()})
    else:
        print_table(
            ("level", "shape"), [(name, " x ".join(map(str, s))) for name, s in shapes.items()]
        )


@click.group()
def store() -> None:
    """Look after the artifact store."""


@store.command("ls")
@store_path
@as_json
def store_ls(store: str, json_: bool) -> None:
    """List artifacts."""
    from mlfd_tune.core.store import list_artifacts

    found = list_artifacts(_existing(store))
    if json_:
        print_json(
            [
                a.manifest.model_dump(exclude={"history", "files"}) | {"bytes": a.manifest.bytes}
                for a in found
            ]
        )
        return
    print_table(
        ("key", "stage", "what", "MB", "seconds", "val/acc1"),
        [
            (
                a.key[:12],
                a.manifest.stage,
                a.manifest.label,
                f"{a.manifest.bytes / 1e6:.1f}",
                f"{a.manifest.seconds:.1f}",
                _accuracy(a.manifest.metrics.get("val/acc1")),
            )
            for a in found
        ],
    )
    total = sum(a.manifest.bytes for a in found)
    seconds = sum(a.manifest.seconds for a in found)
    click.echo(f"{len(found)} artifacts, {total / 1e6:.1f} MB, {seconds:.0f} s of computing")


@store.command("verify")
@store_path
@as_json
def store_verify(store: str, json_: bool) -> None:
    """Check every file's size and checksum; exit 1 when one is wrong."""
    from mlfd_tune.core.store import list_artifacts, verify_store

    opened = _existing(store)
    problems = verify_store(opened)
    if json_:
        print_json({"artifacts": len(list_artifacts(opened)), "problems": problems})
    else:
        for key, problem in problems.items():
            click.echo(f"{key[:12]}: {problem}")
        click.echo(
            f"{len(list_artifacts(opened)) - len(problems)} artifacts in order, "
            f"{len(problems)} damaged"
        )
    sys.exit(1 if problems else 0)


@store.command("gc")
@click.option("--max-bytes", help="Keep at most this much, such as 5GB; oldest use goes first.")
@click.option("--older-than", help="Remove artifacts not used for this long, such as 30d or 12h.")
@click.option("--dry-run", is_flag=True, help="Only show what would go.")
@store_path
@as_json
def store_gc(
    max_bytes: str | None, older_than: str | None, dry_run: bool, store: str, json_: bool
) -> None:
    """Remove damaged and abandoned files, and artifacts by size or age where asked."""
    from mlfd_tune.core.store import collect_garbage

    removals = collect_garbage(
        _existing(store),
        max_bytes=None if max_bytes is None else _bytes(max_bytes),
        older_than_s=None if older_than is None else _seconds(older_than),
        dry_run=dry_run,
    )
    if json_:
        print_json([{**r.__dict__, "path": str(r.path)} for r in removals])
        return
    for removal in removals:
        click.echo(f"{removal.path.name[:24]}  {removal.bytes / 1e6:.1f} MB  {removal.reason}")
    freed = sum(removal.bytes for removal in removals) / 1e6
    click.echo(f"{'would free' if dry_run else 'freed'} {freed:.1f} MB")


@click.command()
@store_path
@tracking_uri
@as_json
def doctor(store: str, uri: str, json_: bool) -> None:
    """Show what is installed, the devices, the disk, and whether tracking is reachable."""
    from importlib.metadata import PackageNotFoundError, version

    import torch

    from mlfd_tune.tracking import reachable

    def installed(name: str) -> str:
        try:
            return version(name)
        except PackageNotFoundError:
            return "missing"

    packages = (
        "mlfd-tune",
        "torch",
        "torchvision",
        "timm",
        "ray",
        "optuna",
        "mlflow",
        "scikit-image",
    )
    gpus = [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())]
    started = time.perf_counter()
    problem = reachable(uri, 5.0)
    facts = {
        "python": sys.version.split()[0],
        **{name: installed(name) for name in packages},
        "cpus": torch.get_num_threads(),
        "gpus": ", ".join(gpus) or "none",
        "free disk": f"{shutil.disk_usage('.').free / 1e9:.1f} GB",
        "store": f"{store}{'' if Path(store).is_dir() else ' (not made yet)'}",
        "tracking": f"{uri}: {problem or f'reachable in {time.perf_counter() - started:.1f} s'}",
    }
    print_json(facts) if json_ else print_table(("", ""), facts.items())


def _existing(path: str) -> Store:
    from mlfd_tune.core.store import Store

    if not (Path(path) / "artifacts").is_dir():
        raise UserError(f"--store {path}: there is no artifact store")
    return Store(path)


def _bytes(text: str) -> int:
    from mlfd_tune.config.schema import parse_bytes

    try:
        return int(parse_bytes(text))
    except ValueError as error:
        raise UserError(f"--max-bytes: {error}") from None


def _seconds(text: str) -> float:
    match = re.fullmatch(r"(\d+(?:\.\d+)?)([smhd])", text)
    if match is None:
        raise UserError(f"--older-than: {text!r} is not a time (allowed: such as 90m, 12h, 30d)")
    return float(match[1]) * {"s": 1, "m": 60, "h": 3600, "d": 86400}[match[2]]


def _accuracy(value: float | None) -> str:
    return "" if value is None else f"{value:.1f}"
