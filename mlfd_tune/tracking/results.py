"""Reads finished trials, confirmations and arms back from MLflow, one `Result` per run."""

from __future__ import annotations

import math
import sqlite3
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from mlfd_tune.core.errors import UserError, allowed_values
from mlfd_tune.tracking import vocabulary
from mlfd_tune.tracking.api_runs import ApiRuns
from mlfd_tune.tracking.client import (
    check_uri,
    open_client,
    reachable,
    shown_uri,
    sqlite_path,
)
from mlfd_tune.tracking.sqlite_runs import SqliteRuns, UnfamiliarDatabaseError
from mlfd_tune.tracking.stored_runs import TEST, VAL, StoredRun, StoredRuns, sweep_of

__all__ = ["PARENT_KINDS", "RESULT_KINDS", "TEST", "VAL", "Result", "finite", "read_results"]

RESULT_KINDS = ("trial", "confirm", "arm")
PARENT_KINDS = ("sweep", "ablation")


@dataclass(frozen=True)
class Result:
    """One run: one configuration trained with one seed.

    Attributes:
        experiment: Name of the MLflow experiment.
        kind: ``trial``, ``confirm`` or ``arm``.
        sweep: Id of the parent run.
        dataset: Target dataset.
        method: How the student learned.
        config: Short hash of the configuration without its seed.
        baseline_of: Hashes of the configurations this run is the baseline or control of.
        arm: Name of the ablation's arm, if any.
        seed: The seed as text.
        val: Last `val/acc1` in percent, or None.
        test: Last `test/acc1` in percent, or None.
        run_id: MLflow's id of the run.
        started: Start in milliseconds since 1970.
        params: Flat settings.
        val_step: The epoch that `val` is of, or None.
        test_step: The epoch that `test` is of, or None.
        data: Id of the stage run that packed the dataset's images, or None.
        reason: Why it was stopped or failed, or None.
    """

    experiment: str
    kind: str
    sweep: str
    dataset: str
    method: str
    config: str
    baseline_of: tuple[str, ...]
    arm: str | None
    seed: str
    val: float | None
    test: float | None
    run_id: str
    started: int
    params: Mapping[str, str]
    val_step: int | None = None
    test_step: int | None = None
    data: str | None = None
    reason: str | None = None


def read_results(
    uri: str,
    experiment: str | None,
    run_status: str,
    dataset: str | None = None,
    *,
    all_runs: bool = True,
) -> list[Result]:
    """Return all runs of `RESULT_KINDS` with an MLflow status, of one experiment or of all.

    Args:
        uri: MLflow tracking URI.
        experiment: Name of the experiment, or None for all.
        run_status: ``FINISHED``, ``KILLED`` or ``FAILED``.
        dataset: Only runs on this dataset.
        all_runs: Every sweep and ablation of an experiment, not only its latest.

    Raises:
        UserError: For an URI that cannot be used, no database there yet, an unknown experiment, or
            a dataset that no run of any status was on.
    """
    _check_existing(uri)
    path = sqlite_path(uri)
    if path and "?" not in uri:
        try:
            with SqliteRuns.opened(path) as runs:
                return _results(runs, experiment, run_status, dataset, all_runs=all_runs)
        except (sqlite3.Error, UnfamiliarDatabaseError):
            pass  # MLflow can read it all the same, or says what is wrong
    client = open_client(uri)
    return _results(ApiRuns(client), experiment, run_status, dataset, all_runs=all_runs)


def _check_existing(uri: str) -> None:
    """Refuse an URI that has nothing to read: asking must not create an empty database."""
    check_uri(uri)
    path = sqlite_path(uri)
    if path and not path.exists():
        raise UserError(f"tracking uri: there is no database {path} yet; run a sweep first")
    reason = reachable(uri) if not path else None
    if reason:
        raise UserError(f"tracking uri: {shown_uri(uri)} cannot be reached ({reason})")


def _results(
    runs: StoredRuns,
    experiment: str | None,
    run_status: str,
    dataset: str | None,
    *,
    all_runs: bool,
) -> list[Result]:
    names = _experiments(runs, experiment)
    if not names:
        return []
    sweeps = {} if all_runs else _latest_sweeps(runs, names)
    found = runs.runs(names, RESULT_KINDS, run_status, dataset, sweeps)
    if dataset is not None and not found:
        known = runs.datasets(names, RESULT_KINDS)
        if dataset not in known:
            raise UserError(f"dataset: no run on {dataset!r} {allowed_values(dataset, known)}")
    return [_result(run, names[run.experiment_id]) for run in found]


def _experiments(runs: StoredRuns, wanted: str | None) -> dict[str, str]:
    """Return experiment names by id."""
    names = runs.experiments()
    if wanted is None:
        return names
    chosen = {number: name for number, name in names.items() if name == wanted}
    if not chosen:
        known = [name for name in names.values() if name != "Default"]
        raise UserError(f"experiment: unknown {wanted!r} {allowed_values(wanted, known)}")
    return chosen


def _latest_sweeps(runs: StoredRuns, experiment_ids: Iterable[str]) -> dict[str, str]:
    """Return the latest sweep or ablation of each experiment that has any."""
    latest = {}
    for number in experiment_ids:
        found = [runs.newest_parent(number, kind) for kind in PARENT_KINDS]
        parents = [parent for parent in found if parent is not None]
        if parents:
            latest[number] = max(parents, key=lambda parent: parent.started).sweep
    return latest


def _result(run: StoredRun, experiment: str) -> Result:
    tags = run.tags
    return Result(
        experiment=experiment,
        kind=run.kind,
        sweep=sweep_of(tags),
        dataset=tags.get(vocabulary.DATASET, ""),
        method=tags.get(vocabulary.METHOD, ""),
        config=tags.get(vocabulary.CONFIG, run.run_id),
        baseline_of=tuple(
            sorted(part.strip() for part in tags.get(vocabulary.BASELINE_OF, "").split(",") if part)
        ),
        arm=tags.get(vocabulary.ARM),
        seed=tags.get(vocabulary.SEED, run.run_id),
        val=finite(run.val),
        test=finite(run.test),
        run_id=run.run_id,
        started=run.started,
        params=run.params,
        val_step=run.val_step,
        test_step=run.test_step,
        data=run.data,
        reason=tags.get(vocabulary.REASON),
    )


def finite(value: float | None) -> float | None:
    """Return a metric, or None where it is missing, infinite or no number."""
    return value if value is not None and math.isfinite(value) else None
