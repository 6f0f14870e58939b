"""`run` and `train`: doing the work."""

from __future__ import annotations

from pathlib import Path

import click

from mlfd_tune.cli.options import console, print_json
from mlfd_tune.config import AblationConfig, Loaded, SweepConfig, TrainConfig, load_experiment
from mlfd_tune.core.errors import UserError

__all__ = ["run", "train"]

_override = click.option(
    "--set",
    "overrides",
    multiple=True,
    metavar="KEY=VALUE",
    help="Override a key, such as --set search.trials=4. May be repeated.",
)


@click.command()
@click.argument("file", type=click.Path(path_type=Path))
@_override
@click.option("--resume", is_flag=True, help="Go on with the latest unfinished run.")
@click.option("--dry-run", is_flag=True, help="Show what would be computed, and stop.")
@click.option("--json", "json_", is_flag=True, help="With --dry-run: print JSON.")
def run(file: Path, overrides: tuple[str, ...], resume: bool, dry_run: bool, json_: bool) -> None:
    """Run the sweep or ablation in FILE."""
    loaded = load_experiment(file, overrides)
    # Imported here: Ray and torch take seconds that other commands should not pay.
    from mlfd_tune.ablation import Ablation
    from mlfd_tune.tune import Experiment, Progress, Sweep
    from mlfd_tune.tune.dry_run import describe_plan, print_plan

    kinds: dict[type, type[Experiment]] = {SweepConfig: Sweep, AblationConfig: Ablation}
    if type(loaded.config) not in kinds:
        raise UserError(f"{file}: kind: train is for `mlfd-tune train {file}`")
    experiment = kinds[type(loaded.config)].of(loaded)
    if dry_run:
        plan = describe_plan(experiment)
        print_json(plan.as_json()) if json_ else print_plan(plan, console())
        return
    folder = experiment.run(Progress(console()), resume=resume)
    _conclude(loaded, folder.id)


def _conclude(loaded: Loaded, run_id: str) -> None:
    """Print what came out, read back from MLflow."""
    from mlfd_tune.ablation import ablation_tables, comparison_rows
    from mlfd_tune.tracking import leaderboard, rich_tables

    uri, out = loaded.config.tracking.uri, console()
    if isinstance(loaded.config, AblationConfig):
        rows = comparison_rows(uri, loaded.name, loaded.config, run_id)
        for table in ablation_tables(rows, loaded.config.metric):
            out.print(table)
    else:
        for item in rich_tables(leaderboard(uri, loaded.name)):
            out.print(item)
    out.print(
        f"\nmlfd-tune leaderboard {loaded.name} · mlfd-tune export {loaded.name} · mlfd-tune ui",
        highlight=False,
    )


@click.command()
@click.argument("config", type=click.Path(path_type=Path))
@_override
@click.option("--device", default=None, help="Torch device; cuda where there is one.")
@click.option("--json", "json_", is_flag=True, help="Print the metrics as JSON.")
def train(config: Path, overrides: tuple[str, ...], device: str | None, json_: bool) -> None:
    """Train the one student in CONFIG, such as an exported best configuration."""
    loaded = load_experiment(config, overrides)
    if not isinstance(loaded.config, TrainConfig):
        raise UserError(f"{config}: kind: {loaded.raw['kind']} is for `mlfd-tune run {config}`")
    from mlfd_tune.cli.training import train_one

    train_one(loaded, loaded.config, device, console(), json_)
