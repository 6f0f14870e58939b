"""The finished run of an experiment that a figure is of, and what it trained."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from mlfd_tune.core.errors import UserError, allowed_values
from mlfd_tune.tracking import vocabulary
from mlfd_tune.tracking.client import open_client
from mlfd_tune.tracking.results import PARENT_KINDS, Result, read_results
from mlfd_tune.tracking.session import tag_equals

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Run

__all__ = ["FinishedRun", "Trained", "finished_run", "parent_run", "short_of_results"]

_KINDS = ("confirm", "arm")


@dataclass(frozen=True)
class Trained:
    """A finished confirmation or arm, with all tags of its run.

    Attributes:
        result: The run.
        tags: Its tags by name, see `mlfd_tune.tracking.vocabulary`.
    """

    result: Result
    tags: Mapping[str, str]


@dataclass(frozen=True)
class FinishedRun:
    """A sweep or ablation with its confirmations or arms.

    Attributes:
        id: What the run folder is called, such as ``20260102-030405``.
        run_id: MLflow's id of the parent run.
        trained: Its finished confirmations or arms, in the order they were started.
    """

    id: str
    run_id: str
    trained: tuple[Trained, ...]


def finished_run(
    uri: str, experiment: str, run: str | None = None, dataset: str | None = None
) -> FinishedRun:
    """Return an experiment's latest finished sweep or ablation.

    Args:
        uri: MLflow tracking URI.
        experiment: Name of the experiment.
        run: Id of the run in place of the latest; it need not be finished.
        dataset: Only what was trained on this dataset.

    Raises:
        UserError: No such database, experiment, run or dataset, or nothing was confirmed or
            compared in the run.
    """
    # Asked first, for it says what is wrong with any of the names.
    results = read_results(uri, experiment, "FINISHED", dataset)
    client = open_client(uri)
    parent = parent_run(client, experiment, run)
    sweep = parent.data.tags[vocabulary.SWEEP]
    own = [result for result in results if result.sweep == sweep and result.kind in _KINDS]
    if not own:
        where = f" on {dataset!r}" if dataset else ""
        raise UserError(
            f"{experiment}: run {sweep} has no finished confirmation or arm{where}; a sweep "
            "confirms after its search, and an ablation's arms are what it compares"
        )
    trained = [Trained(result, client.get_run(result.run_id).data.tags) for result in own]
    trained.sort(key=lambda one: (one.result.started, one.result.arm or "", one.result.seed))
    return FinishedRun(sweep, parent.info.run_id, tuple(trained))


def short_of_results(experiment: str, what: str, methods: Sequence[str]) -> UserError:
    """Return the error for a run without what a figure is made of."""
    known = ", ".join(sorted(set(methods)))
    return UserError(f"{experiment}: {what} (methods of its latest finished run: {known})")


def parent_run(client: MlflowClient, experiment: str, run: str | None) -> Run:
    """Return MLflow's run of an experiment's latest finished sweep or ablation.

    Args:
        client: Of the tracking server.
        experiment: Name of an experiment that there is.
        run: Id of the run in place of the latest; it need not be finished.

    Raises:
        UserError: It has no such run, or none is finished.
    """
    found = client.get_experiment_by_name(experiment)
    assert found is not None
    parents = [
        parent
        for kind in PARENT_KINDS
        for parent in client.search_runs([found.experiment_id], tag_equals(vocabulary.KIND, kind))
        if vocabulary.SWEEP in parent.data.tags
    ]
    parents.sort(key=lambda parent: parent.info.start_time, reverse=True)
    by_id = {parent.data.tags[vocabulary.SWEEP]: parent for parent in reversed(parents)}
    if run is not None:
        if run not in by_id:
            raise UserError(f"--run: {experiment} has no run {run!r} {allowed_values(run, by_id)}")
        return by_id[run]
    for parent in parents:
        if parent.info.status == "FINISHED":
            return parent
    hint = f"; --run takes one that is not: {', '.join(by_id)}" if by_id else ""
    raise UserError(f"{experiment}: no sweep or ablation is finished{hint}")
