"""Reads runs through MLflow, from any server or database it knows."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

from mlfd_tune.tracking import vocabulary
from mlfd_tune.tracking.session import tag_equals
from mlfd_tune.tracking.stored_runs import (
    DATA_PREFIX,
    TAGS,
    TEST,
    VAL,
    Parent,
    StoredRun,
    sweep_of,
)

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Run

__all__ = ["ApiRuns"]

_PAGE = 500


class ApiRuns:
    """`StoredRuns` through a client.

    Args:
        client: An open client.
    """

    def __init__(self, client: MlflowClient) -> None:
        self._client = client

    def experiments(self) -> dict[str, str]:
        """Return the names of all experiments by id, the latest first."""
        names: dict[str, str] = {}
        token: str | None = None
        while True:
            page = self._client.search_experiments(max_results=_PAGE, page_token=token)
            names |= {experiment.experiment_id: experiment.name for experiment in page}
            token = page.token
            if not token:
                return names

    def newest_parent(self, experiment_id: str, kind: str) -> Parent | None:
        """Return the run of a kind that an experiment started last, or None."""
        found = self._client.search_runs(
            [experiment_id],
            tag_equals(vocabulary.KIND, kind),
            max_results=1,
            order_by=["attributes.start_time DESC"],
        )
        for run in found:
            sweep = run.data.tags.get(vocabulary.SWEEP, run.info.run_id)
            return Parent(sweep, run.info.start_time)
        return None

    def datasets(self, experiment_ids: Collection[str], kinds: Sequence[str]) -> set[str]:
        """Return the datasets of all runs of some kinds; empty for a run without one."""
        runs = self._search(experiment_ids, kinds, [])
        return {run.data.tags.get(vocabulary.DATASET, "") for run in runs}

    def runs(
        self,
        experiment_ids: Collection[str],
        kinds: Sequence[str],
        status: str,
        dataset: str | None,
        sweeps: Mapping[str, str],
    ) -> list[StoredRun]:
        """Return runs, in the order of the kinds, then the latest first; see `StoredRuns`."""
        clauses = [f"attributes.status = '{status}'"]
        if dataset is not None:
            clauses.append(tag_equals(vocabulary.DATASET, dataset))
        found = []
        for run in map(_stored, self._search(experiment_ids, kinds, clauses)):
            sweep = sweep_of(run.tags)
            if sweeps.get(run.experiment_id, sweep) == sweep:
                found.append(run)
        return found

    def _search(
        self, experiment_ids: Collection[str], kinds: Sequence[str], clauses: Sequence[str]
    ) -> Iterator[Run]:
        for kind in kinds:  # MLflow's filters have no "or"
            text = " and ".join([tag_equals(vocabulary.KIND, kind), *clauses])
            token: str | None = None
            while True:
                page = self._client.search_runs(
                    list(experiment_ids), text, max_results=_PAGE, page_token=token
                )
                yield from page
                token = page.token
                if not token:
                    break


def _stored(run: Run) -> StoredRun:
    tags, metrics = run.data.tags, run.data.metrics
    steps = {metric.key: int(metric.step) for metric in run.data.to_proto().metrics}
    return StoredRun(
        experiment_id=run.info.experiment_id,
        run_id=run.info.run_id,
        kind=tags[vocabulary.KIND],
        started=run.info.start_time,
        tags={name: tags[name] for name in TAGS if name in tags},
        val=metrics.get(VAL),
        test=metrics.get(TEST),
        params=run.data.params,
        val_step=steps.get(VAL),
        test_step=steps.get(TEST),
        data=tags.get(DATA_PREFIX + tags.get(vocabulary.DATASET, "")),
    )
