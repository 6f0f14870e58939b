"""Reads finished trials, confirmations and arms back from MLflow, one `Result` per run."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from mlfd_tune.core.errors import UserError, allowed_values
from mlfd_tune.tracking import vocabulary
from mlfd_tune.tracking.client import (
    check_uri,
    open_client,
    reachable,
    shown_uri,
    sqlite_path,
)
from mlfd_tune.tracking.session import tag_equals

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Run

__all__ = ["RESULT_KINDS", "TEST", "VAL", "Result", "read_results"]

VAL = "val/acc1"
TEST = "test/acc1"

RESULT_KINDS = ("trial", "confirm", "arm")
PARENT_KINDS = ("sweep", "ablation")
_PAGE = 500


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
    client = _open_existing(uri)
    names = _experiments(client, experiment)
    if not names:
        return []
    status = f"attributes.status = '{run_status}'"
    clauses = [status] if dataset is None else [status, tag_equals(vocabulary.DATASET, dataset)]
    results = [_result(run, names) for run in _search(client, list(names), clauses)]
    if not all_runs:
        latest = {names[number]: _latest_sweep(client, number) for number in names}
        results = [r for r in results if latest[r.experiment] in (None, r.sweep)]
    if dataset is not None and not results:
        known = {_result(run, names).dataset for run in _search(client, list(names), [])}
        if dataset not in known:
            raise UserError(f"dataset: no run on {dataset!r} {allowed_values(dataset, known)}")
    return results


def _open_existing(uri: str) -> MlflowClient:
    """Open for reading: asking for results must not create an empty database."""
    check_uri(uri)
    path = sqlite_path(uri)
    if path and not path.exists():
        raise UserError(f"tracking uri: there is no database {path} yet; run a sweep first")
    reason = reachable(uri) if not path else None
    if reason:
        raise UserError(f"tracking uri: {shown_uri(uri)} cannot be reached ({reason})")
    return open_client(uri)


def _experiments(client: MlflowClient, wanted: str | None) -> dict[str, str]:
    """Return experiment names by id."""
    names: dict[str, str] = {}
    token: str | None = None
    while True:
        page = client.search_experiments(max_results=_PAGE, page_token=token)
        names |= {experiment.experiment_id: experiment.name for experiment in page}
        token = page.token
        if not token:
            break
    if wanted is None:
        return names
    chosen = {number: name for number, name in names.items() if name == wanted}
    if not chosen:
        known = [name for name in names.values() if name != "Default"]
        raise UserError(f"experiment: unknown {wanted!r} {allowed_values(wanted, known)}")
    return chosen


def _latest_sweep(client: MlflowClient, experiment_id: str) -> str | None:
    """Return the id of the experiment's latest sweep or ablation, or None if it has neither."""
    latest: Run | None = None
    for kind in PARENT_KINDS:
        newest_first = ["attributes.start_time DESC"]
        clause = tag_equals(vocabulary.KIND, kind)
        for run in client.search_runs(
            [experiment_id], clause, max_results=1, order_by=newest_first
        ):
            if latest is None or run.info.start_time > latest.info.start_time:
                latest = run
    return None if latest is None else latest.data.tags.get(vocabulary.SWEEP, latest.info.run_id)


def _search(client: MlflowClient, experiment_ids: list[str], clauses: list[str]) -> Iterator[Run]:
    for kind in RESULT_KINDS:  # MLflow's filters have no "or"
        text = " and ".join([tag_equals(vocabulary.KIND, kind), *clauses])
        token: str | None = None
        while True:
            page = client.search_runs(experiment_ids, text, max_results=_PAGE, page_token=token)
            yield from page
            token = page.token
            if not token:
                break


def _result(run: Run, experiments: Mapping[str, str]) -> Result:
    tags = run.data.tags
    return Result(
        experiment=experiments[run.info.experiment_id],
        kind=tags[vocabulary.KIND],
        sweep=tags.get(vocabulary.SWEEP) or tags.get("mlflow.parentRunId", ""),
        dataset=tags.get(vocabulary.DATASET, ""),
        method=tags.get(vocabulary.METHOD, ""),
        config=tags.get(vocabulary.CONFIG, run.info.run_id),
        baseline_of=tuple(
            sorted(part.strip() for part in tags.get(vocabulary.BASELINE_OF, "").split(",") if part)
        ),
        arm=tags.get(vocabulary.ARM),
        seed=tags.get(vocabulary.SEED, run.info.run_id),
        val=_finite(run.data.metrics.get(VAL)),
        test=_finite(run.data.metrics.get(TEST)),
        run_id=run.info.run_id,
        started=run.info.start_time,
        params=run.data.params,
    )


def _finite(value: float | None) -> float | None:
    return value if value is not None and math.isfinite(value) else None
