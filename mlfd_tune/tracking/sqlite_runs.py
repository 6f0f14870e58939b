"""Reads runs straight from MLflow's SQLite tables, without MLflow.

MLflow makes an object of every tag, param and metric of every run, which takes a minute and more
for 10,000 runs. Here the database picks out what is wanted, in three queries. Its tables are
MLflow's own affair, so whatever does not look as expected is left to MLflow.
"""

from __future__ import annotations

import json
import os
import sqlite3
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from mlfd_tune.tracking import vocabulary
from mlfd_tune.tracking.stored_runs import (
    DATA_PREFIX,
    TAGS,
    TEST,
    VAL,
    Parent,
    StoredRun,
    sweep_of,
)

__all__ = ["SqliteRuns", "UnfamiliarDatabaseError"]

_COLUMNS: Final = {
    "experiments": {"experiment_id", "name", "lifecycle_stage", "creation_time"},
    "runs": {"run_uuid", "experiment_id", "status", "lifecycle_stage", "start_time"},
    "tags": {"run_uuid", "key", "value"},
    "params": {"run_uuid", "key", "value"},
    "latest_metrics": {"run_uuid", "key", "value", "is_nan", "step"},
}
"""The columns that are read, by table."""

_WAIT_S = 20.0
"""How long another process may hold the database; what MLflow waits."""

_OF_KINDS = """
    FROM json_each(:kinds) AS wanted
    JOIN tags AS kind ON kind.key = :kind_tag AND kind.value = wanted.value
    JOIN runs AS run ON run.run_uuid = kind.run_uuid
    WHERE run.lifecycle_stage = 'active'
    AND run.experiment_id IN (SELECT value FROM json_each(:experiments))
"""
_TAG = "(SELECT value FROM tags WHERE key = {name} AND run_uuid = run.run_uuid)"
_METRIC = """(
    SELECT CASE WHEN is_nan THEN NULL ELSE value END
    FROM latest_metrics WHERE key = {name} AND run_uuid = run.run_uuid
)"""
_STEP = "(SELECT step FROM latest_metrics WHERE key = {name} AND run_uuid = run.run_uuid)"


class UnfamiliarDatabaseError(Exception):
    """The database is not laid out as expected, or not all of it may be seen."""


class SqliteRuns:
    """`StoredRuns` in an SQLite file, all as of one moment. It is only ever read.

    Every method raises `sqlite3.Error` when the database cannot be read.

    Args:
        database: A connection from `opened`.
    """

    def __init__(self, database: sqlite3.Connection) -> None:
        self._database = database

    @classmethod
    @contextmanager
    def opened(cls, path: Path) -> Iterator[SqliteRuns]:
        """Open a database that exists.

        Raises:
            UnfamiliarDatabaseError: MLflow should read this one.
            sqlite3.Error: It cannot be read.
        """
        database = sqlite3.connect(
            f"{path.as_uri()}?mode=ro", uri=True, timeout=_WAIT_S, isolation_level=None
        )
        try:
            database.execute("BEGIN")
            _check(database)
            yield cls(database)
        finally:
            database.close()

    def experiments(self) -> dict[str, str]:
        """Return the names of all experiments by id, the latest first."""
        rows = self._database.execute(
            "SELECT experiment_id, name FROM experiments WHERE lifecycle_stage = 'active' "
            "ORDER BY creation_time DESC, experiment_id"
        )
        return {str(number): name for number, name in rows}

    def newest_parent(self, experiment_id: str, kind: str) -> Parent | None:
        """Return the run of a kind that an experiment started last, or None."""
        sweep = f"COALESCE({_TAG.format(name=':sweep_tag')}, run.run_uuid)"
        rows = self._database.execute(
            f"SELECT {sweep}, run.start_time {_OF_KINDS} "
            "ORDER BY run.start_time DESC, run.run_uuid LIMIT 1",
            {**_place([experiment_id], [kind]), "sweep_tag": vocabulary.SWEEP},
        )
        return next((Parent(*row) for row in rows), None)

    def datasets(self, experiment_ids: Collection[str], kinds: Sequence[str]) -> set[str]:
        """Return the datasets of all runs of some kinds; empty for a run without one."""
        rows = self._database.execute(
            f"SELECT DISTINCT {_TAG.format(name=':dataset_tag')} {_OF_KINDS}",
            {**_place(experiment_ids, kinds), "dataset_tag": vocabulary.DATASET},
        )
        return {name or "" for (name,) in rows}

    def runs(
        self,
        experiment_ids: Collection[str],
        kinds: Sequence[str],
        status: str,
        dataset: str | None,
        sweeps: Mapping[str, str],
    ) -> list[StoredRun]:
        """Return runs, in the order of the kinds, then the latest first; see `StoredRuns`."""
        names = {f"tag{number}": name for number, name in enumerate(TAGS)}
        columns = [_TAG.format(name=f":{number}") for number in names]
        columns += [_METRIC.format(name=":val"), _METRIC.format(name=":test")]
        columns += [_STEP.format(name=":val"), _STEP.format(name=":test")]
        dataset_tag = f"COALESCE({_TAG.format(name=':dataset_tag')}, '')"
        columns.append(_TAG.format(name=f":data || {dataset_tag}"))
        of_dataset = "" if dataset is None else f"AND {_TAG.format(name=':dataset_tag')} = :dataset"
        rows = self._database.execute(
            "SELECT CAST(run.experiment_id AS TEXT), run.run_uuid, kind.value, run.start_time, "
            f"{', '.join(columns)} {_OF_KINDS} AND run.status = :status {of_dataset} "
            "ORDER BY wanted.key, run.start_time DESC, run.run_uuid",
            {
                **_place(experiment_ids, kinds),
                **names,
                "val": VAL,
                "test": TEST,
                "data": DATA_PREFIX,
                "status": status,
                "dataset_tag": vocabulary.DATASET,
                "dataset": dataset,
            },
        )
        found = []
        for experiment_id, run_id, kind, started, *values in rows:
            measured = values[len(TAGS) :]
            pairs = zip(TAGS, values[: len(TAGS)], strict=True)
            tags = {name: value for name, value in pairs if value is not None}
            sweep = sweep_of(tags)
            if sweeps.get(experiment_id, sweep) == sweep:
                found.append(((experiment_id, run_id, kind, started, tags), measured))
        params = self._params([run_id for (_, run_id, *_), _ in found])
        return [
            StoredRun(*run, val, test, params.get(run[1], {}), val_step, test_step, data)
            for run, (val, test, val_step, test_step, data) in found
        ]

    def _params(self, run_ids: Sequence[str]) -> dict[str, dict[str, str]]:
        # One text per run: half a million rows of three columns would take three times as long.
        rows = self._database.execute(
            "SELECT run_uuid, json_group_object(key, value) FROM params "
            "WHERE run_uuid IN (SELECT value FROM json_each(?)) GROUP BY run_uuid",
            (json.dumps(run_ids),),
        )
        return {run_id: json.loads(text) for run_id, text in rows}


def _place(experiment_ids: Collection[str], kinds: Sequence[str]) -> dict[str, str]:
    """Return what `_OF_KINDS` asks for."""
    return {
        "experiments": json.dumps([int(number) for number in experiment_ids]),
        "kinds": json.dumps(list(kinds)),
        "kind_tag": vocabulary.KIND,
    }


def _check(database: sqlite3.Connection) -> None:
    found = {
        table: {row[1] for row in database.execute(f"PRAGMA table_info({table})")}
        for table in _COLUMNS
    }
    for table, columns in _COLUMNS.items():
        if not columns <= found[table]:
            raise UnfamiliarDatabaseError(f"table {table} has not all of {sorted(columns)}")
    # What one may see of several workspaces is for MLflow to say.
    elsewhere = "SELECT 1 FROM experiments WHERE workspace != 'default' LIMIT 1"
    divided = "workspace" in found["experiments"] and database.execute(elsewhere).fetchone()
    if divided or os.environ.get("MLFLOW_ENABLE_WORKSPACES"):
        raise UnfamiliarDatabaseError("the database is divided into workspaces")
