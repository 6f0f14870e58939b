"""`reproduce`: training exported students again. What it does is in `reproduction`."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from mlfd_tune.cli.options import examples
from mlfd_tune.core.errors import UserError

__all__ = ["reproduce"]


class _Seeds(click.ParamType[int | None]):
    """A number of seeds, or `all` of them, which is None."""

    name = "seeds"

    def convert(
        self, value: object, param: click.Parameter | None, ctx: click.Context | None
    ) -> int | None:
        if value == "all":
            return None
        if isinstance(value, int):
            return value
        if not str(value).isdecimal() or int(str(value)) < 1:
            raise UserError(f"--seeds {value}: must be a number of seeds from 1 up, or all")
        return int(str(value))


@click.command(
    epilog=examples(
        "mlfd-tune reproduce exports",
        "mlfd-tune reproduce exports/digits.yaml --seeds all",
        "mlfd-tune reproduce exports/cars.yaml --set datasets.cars.path=/data/cars",
    )
)
@click.argument("bundle", type=click.Path(path_type=Path))
@click.option(
    "--store",
    metavar="FOLDER",
    default=None,
    help="Artifact store to use and keep; by default a new one that is removed at the end. What "
    "an existing one has is found again and not trained.",
)
@click.option(
    "--seeds",
    type=_Seeds(),
    metavar="NUMBER",
    default=1,
    show_default=True,
    help="How many of the recorded seeds to train, the exported one first; or all.",
)
@click.option(
    "--set",
    "places",
    multiple=True,
    metavar="KEY=PATH",
    help="Where data or weights lie here: datasets.NAME.path or teachers.NAME.weights. May be "
    "repeated.",
)
@click.option(
    "--device",
    metavar="NAME",
    default=None,
    help="Torch device: cpu, cuda or cuda:1; a GPU where there is one.",
)
@click.option(
    "--json", "json_", is_flag=True, help="Print what was found as JSON; progress goes to stderr."
)
def reproduce(
    bundle: Path,
    store: str | None,
    seeds: int | None,
    places: tuple[str, ...],
    device: str | None,
    json_: bool,
) -> None:
    """Train exported students again and compare.

    BUNDLE is a YAML or JSON file that `mlfd-tune export` wrote, or a folder of them. The files'
    checksums are verified; then everything is trained from nothing, teachers included. Where
    nothing that was recorded differs (versions, no GPU), accuracies must be the same to the last
    digit; else the mean over the seeds trained must lie in the 95 % prediction interval that the
    recorded seeds give.

    Exit code: 0 if all was reproduced, 1 if not, 2 for bad input.
    """
    from mlfd_tune.cli.reproduction import reproduce_all

    if not reproduce_all(bundle, store, seeds, places, device, json_):
        sys.exit(1)
