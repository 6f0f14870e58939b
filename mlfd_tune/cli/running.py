"""What `run` does: checks, the plan, the run itself, and what came out of it."""

from __future__ import annotations

import os
import shlex
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path

from mlfd_tune.ablation import Ablation, ablation_tables, read_ablation
from mlfd_tune.ablation.contribution import contributions
from mlfd_tune.ablation.table_formats import WIDTH, rich_tables
from mlfd_tune.cli.checks import check_inputs
from mlfd_tune.cli.options import console, print_json, problems_in
from mlfd_tune.cli.profiling import write_profile
from mlfd_tune.cli.terminal import echo
from mlfd_tune.config import AblationConfig, Loaded
from mlfd_tune.core.errors import UserError
from mlfd_tune.tracking import leaderboard
from mlfd_tune.tracking import rich_tables as leaderboard_tables
from mlfd_tune.tracking.session import first_line
from mlfd_tune.tracking.waiting import flush_command, waiting_in
from mlfd_tune.tune import Experiment, Progress, Sweep
from mlfd_tune.tune.caching import with_caching
from mlfd_tune.tune.disk_trouble import told_in_a_line
from mlfd_tune.tune.dry_run import describe_plan, print_plan
from mlfd_tune.tune.run_budget import check_budget
from mlfd_tune.tune.stopping import RunStopped

__all__ = ["run_experiment", "show_plan"]

_KINDS: dict[str, type[Experiment]] = {"sweep": Sweep, "ablation": Ablation}
_INTERRUPTED = 130  # 128 + SIGINT, as shells have it
_RAY_DIED = 1


def show_plan(loaded: Loaded, json_: bool) -> None:
    """Print what a run would do, having checked all that a run checks.

    Raises:
        UserError: Bad input, each line with the file's name.
    """
    with problems_in(loaded.path):
        experiment = _checked(loaded)
        plan = describe_plan(experiment)
        experiment.context.store.require_space(plan.bytes_needed, "the shared stages")
    print_json(plan.as_json()) if json_ else print_plan(plan, console())


def run_experiment(
    loaded: Loaded, overrides: Sequence[str], *, resume: bool, profile: bool, json_: bool
) -> None:
    """Run an experiment and print what came out, read back from MLflow if it is there.

    Args:
        loaded: The experiment file.
        overrides: What was given with ``--set``, for the hint on how to go on.
        resume: Go on with the latest unfinished run.
        profile: Trace one trial, and draw the run's timeline.
        json_: Print the result as JSON.

    Raises:
        UserError: Bad input, each line with the file's name.
    """
    progress = Progress(console(stderr=json_))

    def when_stuck(stop: RunStopped) -> None:
        progress.__exit__(None, None, None)  # the terminal gets its cursor back
        os._exit(_tell_stopped(stop, loaded, overrides))

    with problems_in(loaded.path), _told_when_stopped(loaded, overrides):
        experiment = with_caching(_checked(loaded))
        with told_in_a_line(Path(loaded.config.runs)):
            folder = experiment.run(progress, resume=resume, profile=profile, when_stuck=when_stuck)
    if profile:
        with _spared_when_away(progress.say, "the profile is not logged"):
            write_profile(folder, loaded.config.tracking.uri, progress.say)
    waiting = waiting_in(folder.outbox)
    if waiting:
        if json_:
            print_json({"experiment": loaded.name, "run": folder.id, "undelivered": waiting})
        later = f"{flush_command(folder.outbox)} && mlfd-tune leaderboard {loaded.name}"
        progress.say(f"the result, which MLflow does not have yet, is shown by: {later}")
        return
    with _spared_when_away(progress.say, "the result is not shown"):
        (_print_json if json_ else _print_result)(loaded, folder.id)


@contextmanager
def _told_when_stopped(loaded: Loaded, overrides: Sequence[str]) -> Iterator[None]:
    """End the command with a line on how to go on, where a run was stopped before its end."""
    try:
        yield
    except RunStopped as stop:
        sys.exit(_tell_stopped(stop, loaded, overrides))
    except KeyboardInterrupt:
        echo("interrupted before anything was begun", err=True)
        sys.exit(_INTERRUPTED)


def _tell_stopped(stop: RunStopped, loaded: Loaded, overrides: Sequence[str]) -> int:
    """Print how to go on with a run that was stopped, and return the exit code."""
    again = ["mlfd-tune", "run", str(loaded.path)]
    again += [part for text in overrides for part in ("--set", text)]
    go_on = f"go on with: {shlex.join([*again, '--resume'])}"
    if stop.lost is None:
        echo(f"interrupted; {go_on}", err=True)
        return _INTERRUPTED
    echo(f"error: {stop.lost} died; what was finished is kept; {go_on}", err=True)
    return _RAY_DIED


@contextmanager
def _spared_when_away(say: Callable[[str], None], told: str) -> Iterator[None]:
    """Have a run that is over end well, though MLflow went away before it could be asked again."""
    try:
        yield
    except UserError as error:
        say(f"{told}: {error}")
    except Exception as error:
        from mlflow.exceptions import MlflowException

        if not isinstance(error, MlflowException):
            raise
        say(f"{told}: {first_line(error)}")


def _checked(loaded: Loaded) -> Experiment:
    experiment = _KINDS[loaded.raw["kind"]].of(loaded)
    check_inputs(loaded.config, experiment.context.catalogue, experiment.context.store)
    if loaded.config.store.study_max_bytes is not None:
        check_budget(loaded, experiment.context, experiment.trial_counts())
    return experiment


def _print_json(loaded: Loaded, run_id: str) -> None:
    uri, config = loaded.config.tracking.uri, loaded.config
    if isinstance(config, AblationConfig):
        result = read_ablation(uri, loaded.name, config, run_id)
        teachers = [asdict(one) for one in contributions(config, result.rows)]
        print_json(result.as_json() | {"contributions": teachers})
        return
    rows = [row.as_json() for row in leaderboard(uri, loaded.name)]
    print_json({"experiment": loaded.name, "run": run_id, "rows": rows})


def _print_result(loaded: Loaded, run_id: str) -> None:
    uri, config, out = loaded.config.tracking.uri, loaded.config, console()
    if isinstance(config, AblationConfig):
        result = read_ablation(uri, loaded.name, config, run_id)
        tables = ablation_tables(result, contributions(config, result.rows))
        for item in rich_tables(tables, result.notes):
            out.print(item, width=min(WIDTH, out.width), highlight=False)
        more = f"mlfd-tune table {loaded.name}"
    else:
        out.print(*leaderboard_tables(leaderboard(uri, loaded.name)), sep="")
        more = f"mlfd-tune export {loaded.name}"
    out.print(f"\nmlfd-tune leaderboard {loaded.name} · {more} · mlfd-tune ui", highlight=False)
