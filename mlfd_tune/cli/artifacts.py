"""`store`: looking after the artifact store."""

from __future__ import annotations

import re
import sys
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import click

from mlfd_tune.cli.options import Group, as_json, examples, print_json, print_table, store_path
from mlfd_tune.cli.terminal import echo
from mlfd_tune.core.errors import UserError
from mlfd_tune.core.sizes import size_text

if TYPE_CHECKING:
    from mlfd_tune.core.store import Store

__all__ = ["store"]

_WHAT_TO_DO = (
    "a damaged artifact is not used: who needs it next sets it aside and computes it anew; what "
    "does not belong to the store is yours to remove"
)
_LEFTOVERS = {
    "unfinished": "unfinished stages, {size}: a run that needs them goes on from them; "
    "`mlfd-tune store gc` removes them after a day",
    "damaged": "artifacts set aside as damaged, {size}: `mlfd-tune store gc` removes them",
    "abandoned": "locks or pins of processes that are gone: `mlfd-tune store gc` removes them",
}


@click.group(cls=Group)
def store() -> None:
    """Look after the artifact store."""


@store.command("ls")
@store_path
@as_json
def store_ls(store: str, json_: bool) -> None:
    """List artifacts: size, time it took, accuracy."""
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
    echo(f"{len(found)} artifacts, {total / 1e6:.1f} MB, {seconds:.0f} s of computing")


@store.command("verify")
@store_path
@as_json
def store_verify(store: str, json_: bool) -> None:
    """Check every byte of every artifact.

    Exits with 1 where something is damaged, missing or does not belong there. Says also what lies
    beside the artifacts: unfinished stages, and what was set aside as damaged.
    """
    from mlfd_tune.core.store import find_leftovers, list_artifacts, verify_store

    opened = _existing(store)
    problems = verify_store(opened)
    leftovers = find_leftovers(opened)
    keys = {artifact.key for artifact in list_artifacts(opened)} | problems.keys()
    if json_:
        beside = [{**asdict(one), "path": str(one.path)} for one in leftovers]
        print_json({"artifacts": len(keys), "problems": problems, "leftovers": beside})
    else:
        for key, problem in problems.items():
            echo(f"{key if '/' in key else key[:12]}: {problem}")
        echo(f"{len(keys) - len(problems)} artifacts in order, {len(problems)} damaged")
        if problems:
            echo(_WHAT_TO_DO)
        for kind, what in _LEFTOVERS.items():
            found = [one for one in leftovers if one.kind == kind]
            if found:
                size = size_text(sum(one.bytes for one in found))
                echo(f"{len(found)} {what.format(size=size)}")
    sys.exit(1 if problems else 0)


@store.command(
    "gc",
    epilog=examples(
        "mlfd-tune store gc --dry-run", "mlfd-tune store gc --max-bytes 5GB --older-than 30d"
    ),
)
@click.option(
    "--max-bytes",
    metavar="SIZE",
    help="Keep at most this much, such as 5GB; oldest use goes first.",
)
@click.option(
    "--older-than",
    metavar="AGE",
    help="Remove artifacts not used for this long, such as 30d or 12h.",
)
@click.option("--dry-run", is_flag=True, help="Only show what would go.")
@store_path
@as_json
def store_gc(
    max_bytes: str | None, older_than: str | None, dry_run: bool, store: str, json_: bool
) -> None:
    """Remove what is damaged, abandoned, old or too much.

    Damaged artifacts and the remains of stages that nobody finished always go; sound artifacts only
    where --max-bytes or --older-than asks for it. What a running sweep needs stays.
    """
    from mlfd_tune.core.store import collect_garbage

    collected = collect_garbage(
        _existing(store),
        max_bytes=None if max_bytes is None else _bytes(max_bytes),
        older_than_s=None if older_than is None else _seconds(older_than),
        dry_run=dry_run,
    )
    if json_:
        print_json(
            [
                {**asdict(one), "path": str(one.path), "needed": needed}
                for needed, found in ((False, collected.removed), (True, collected.needed))
                for one in found
            ]
        )
        return
    for removal in collected.removed:
        echo(f"{removal.path.name[:24]}  {removal.bytes / 1e6:.1f} MB  {removal.reason}")
    freed = sum(removal.bytes for removal in collected.removed) / 1e6
    echo(f"{'would free' if dry_run else 'freed'} {freed:.1f} MB")
    if collected.needed:
        size = size_text(sum(removal.bytes for removal in collected.needed))
        echo(f"{len(collected.needed)} artifacts, {size}, are needed by a running sweep: left")


def _existing(path: str) -> Store:
    from mlfd_tune.core.store import Store

    if not any((Path(path) / folder).is_dir() for folder in ("artifacts", "work")):
        raise UserError(
            f"--store {path}: there is no artifact store (allowed: the folder that store.path "
            "named in a run)"
        )
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
