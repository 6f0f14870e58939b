"""`run` and `train`: doing the work. What they do is in `running` and `training`.

Those are imported when a command starts: torch and Ray take seconds that `--help` and the
commands that only read should not pay.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from mlfd_tune.cli.options import examples
from mlfd_tune.core.errors import UserError

if TYPE_CHECKING:
    from mlfd_tune.config import Loaded

__all__ = ["run", "train"]

_override = click.option(
    "--set",
    "overrides",
    multiple=True,
    metavar="KEY=VALUE",
    help="Override a key, such as --set search.trials=4. The value is YAML. May be repeated.",
)

# Which command a file is for.
_COMMANDS = {"sweep": "run", "ablation": "run", "train": "train"}


@click.command(
    epilog=examples(
        "mlfd-tune run experiments/quickstart.yaml",
        "mlfd-tune run experiments/quickstart.yaml --dry-run",
        "mlfd-tune run my.yaml --set search.trials=20 --set 'targets=[digits]'",
        "mlfd-tune run my.yaml --resume",
        "mlfd-tune run my.yaml --profile",
        "mlfd-tune run experiments/ablation_fusion_depth.yaml --until-resolved 2",
    )
)
@click.argument("file", type=click.Path(path_type=Path))
@_override
@click.option("--resume", is_flag=True, help="Go on with the latest unfinished run.")
@click.option(
    "--profile",
    is_flag=True,
    help="Also trace an epoch of one trial and draw which worker did what when, in the run's "
    "folder and among the artifacts of its run in MLflow.",
)
@click.option(
    "--until-resolved",
    type=click.FloatRange(min=0, min_open=True),
    metavar="WIDTH",
    help="Of an ablation: add seeds until the 95 % interval of every difference is at most WIDTH "
    "points wide, or resolve.max_seeds are spent. The same as --set resolve.width=WIDTH.",
)
@click.option("--dry-run", is_flag=True, help="Show what would be computed, and stop.")
@click.option(
    "--json",
    "json_",
    is_flag=True,
    help="Print the result, or with --dry-run the plan, as JSON; progress goes to stderr.",
)
def run(
    file: Path,
    overrides: tuple[str, ...],
    resume: bool,
    profile: bool,
    until_resolved: float | None,
    dry_run: bool,
    json_: bool,
) -> None:
    """Run the sweep or ablation in FILE.

    Shared stages that the store already has are reused. Everything is checked before anything is
    written.
    """
    if until_resolved is not None:
        _require_ablation(file)
        overrides = (*overrides, f"resolve.width={until_resolved:g}")
    loaded = _load(file, overrides, "run")
    from mlfd_tune.cli.running import run_experiment, show_plan

    if dry_run:
        show_plan(loaded, json_)
    else:
        run_experiment(loaded, overrides, resume=resume, profile=profile, json_=json_)


@click.command(epilog=examples("mlfd-tune train exports/digits.yaml"))
@click.argument("config", type=click.Path(path_type=Path))
@_override
@click.option(
    "--device",
    metavar="NAME",
    default=None,
    help="Torch device: cpu, cuda or cuda:1; a GPU where there is one.",
)
@click.option(
    "--json", "json_", is_flag=True, help="Print the metrics as JSON; progress goes to stderr."
)
def train(config: Path, overrides: tuple[str, ...], device: str | None, json_: bool) -> None:
    """Train one student, such as an exported best one.

    CONFIG is a file with `kind: train`. Where it was exported, the validation accuracy is compared
    with the recorded one.
    """
    loaded = _load(config, overrides, "train")
    from mlfd_tune.cli.training import train_one

    train_one(loaded, device, json_)


def _require_ablation(file: Path) -> None:
    from mlfd_tune.config.reading import Reader

    kind = Reader().read(file).get("kind")
    if kind != "ablation":
        raise UserError(f"{file}: --until-resolved is for an ablation, and this is a {kind}")


def _load(file: Path, overrides: tuple[str, ...], command: str) -> Loaded:
    from mlfd_tune.config import load_experiment

    loaded = load_experiment(file, overrides)
    kind = loaded.raw["kind"]
    if _COMMANDS[kind] != command:
        raise UserError(
            f"{file}: kind: `mlfd-tune {command}` does not take a {kind}; "
            f"use `mlfd-tune {_COMMANDS[kind]} {file}`"
        )
    return loaded
