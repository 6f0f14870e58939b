"""Fills a tracking database with the runs of a large sweep, as many and as much as a real one has.

MLflow would take an hour to log ten thousand runs, so their rows are inserted at once through its
own table definitions.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mlflow.store.tracking.dbmodels.models import (
    SqlLatestMetric,
    SqlMetric,
    SqlParam,
    SqlRun,
    SqlTag,
)
from sqlalchemy import create_engine, insert

from mlfd_tune.tracking import vocabulary
from mlfd_tune.tracking.client import open_client

__all__ = ["EXPERIMENT", "fill"]

EXPERIMENT = "large"

_DATASETS = ("digits", "letters", "photos")
_METHODS = ("mlfd", vocabulary.NO_METHOD, vocabulary.OWN_TEACHER)
_SEEDS = 5
_EPOCHS = 5
_LOSSES = ("train/loss", "train/loss_ce", "train/loss_kd", "train/loss_kl", "train/lr", "val/loss")
_SWEEP = "20260101-000000"
_START = 1_767_225_600_000
_CHUNK = 500


@dataclass(frozen=True)
class _Run:
    name: str
    tags: Mapping[str, str]
    params: Mapping[str, str]
    metrics: Mapping[str, float]


def fill(path: Path, runs: int) -> str:
    """Make a database of one experiment with one sweep and return its URI.

    Four of five runs are trials of the search; the others confirm its best on five seeds each,
    with baseline and control. A run has 57 params, about 33 tags, and 8 metrics (11 with a test
    accuracy) over five epochs, which is what a sweep of three teachers logs. All are finished.

    Args:
        path: A file that does not exist yet.
        runs: Trials and confirmations, beside the sweep's own run.
    """
    uri = f"sqlite:///{path}"
    experiment = int(open_client(uri).create_experiment(EXPERIMENT, path.parent.as_uri()))
    engine = create_engine(uri)
    draws = random.Random(0)
    parent = f"{draws.getrandbits(128):032x}"
    waiting: dict[Any, list[dict[str, Any]]] = {}
    for number, run in enumerate(_sweep(runs, parent, draws)):
        run_id = parent if number == 0 else f"{draws.getrandbits(128):032x}"
        for table, rows in _rows(run, run_id, experiment, _START + 1000 * number).items():
            waiting.setdefault(table, []).extend(rows)
        if number % _CHUNK == 0 or number == runs:
            with engine.begin() as connection:
                for table, rows in waiting.items():
                    connection.execute(insert(table), rows)
            waiting.clear()
    engine.dispose()
    return uri


def _sweep(runs: int, parent: str, draws: random.Random) -> Iterator[_Run]:
    """Yield the sweep's own run, its trials and its confirmations."""
    yield _Run("sweep", {vocabulary.KIND: "sweep", vocabulary.SWEEP: _SWEEP}, {"seed": "0"}, {})
    per_configuration = len(_METHODS) * _SEEDS
    confirmations = runs // 5
    trials = runs - confirmations
    for number in range(trials):
        dataset = _DATASETS[number % len(_DATASETS)]
        yield _run("trial", number, dataset, "mlfd", 0, parent, draws)
    for number in range(confirmations):
        configuration, place = divmod(number, per_configuration)
        method, seed = _METHODS[place // _SEEDS], 1 + place % _SEEDS
        dataset = _DATASETS[configuration % len(_DATASETS)]
        yield _run("confirm", configuration, dataset, method, seed, parent, draws)


def _run(
    kind: str,
    configuration: int,
    dataset: str,
    method: str,
    seed: int,
    parent: str,
    draws: random.Random,
) -> _Run:
    name = f"{configuration:012x}"
    tags = {
        vocabulary.KIND: kind,
        vocabulary.SWEEP: _SWEEP,
        vocabulary.DATASET: dataset,
        vocabulary.METHOD: method,
        vocabulary.CONFIG: name if method == "mlfd" else f"{method}-{dataset}",
        vocabulary.SEED: str(seed),
        vocabulary.ARTIFACT_KEY: f"{draws.getrandbits(256):064x}",
        vocabulary.SECONDS_REUSED: "31.3",
        "mlflow.parentRunId": parent,
        "mlflow.runName": f"{kind} {dataset} {configuration}",
        **{f"mlfd.version.package{number}": "1.0.0" for number in range(10)},
        **{f"mlfd.stage.{number}.{dataset}": f"{number:032x}" for number in range(12)},
    }
    if method != "mlfd":
        tags[vocabulary.BASELINE_OF] = name
    searched = random.Random(configuration)
    params = {
        "seed": str(seed),
        "joint_teacher.levels": searched.choice(("L1", "L2", "L3")),
        "distillation.temperature": searched.choice(("1", "2", "4")),
        "distillation.alpha": str(searched.uniform(0.1, 2)),
        "distillation.beta.embedding": str(searched.uniform(0.01, 1)),
        "distillation.beta.stride32": str(searched.uniform(0.01, 1)),
        **{f"student.train.option_{number}": str(number) for number in range(51)},
    }
    accuracy = searched.uniform(50, 90) + draws.gauss(0, 1)
    metrics = {loss: draws.random() for loss in _LOSSES} | {"val/acc1": accuracy, "val/acc5": 99.0}
    if kind == "confirm":
        metrics |= {"test/acc1": accuracy - 1, "test/acc5": 98.0, "test/loss": 0.5}
    return _Run(tags["mlflow.runName"], tags, params, metrics)


def _rows(run: _Run, run_id: str, experiment: int, started: int) -> dict[Any, list[dict[str, Any]]]:
    """Return the rows of a run by table."""
    of_run = {
        "run_uuid": run_id,
        "name": run.name,
        "user_id": "unknown",
        "source_type": "UNKNOWN",
        "status": "FINISHED",
        "start_time": started,
        "end_time": started + 1000,
        "lifecycle_stage": "active",
        "artifact_uri": f"file:///nowhere/{run_id}/artifacts",
        "experiment_id": experiment,
    }
    history = [
        {
            "run_uuid": run_id,
            "key": name,
            "value": value - _EPOCHS + epoch,
            "timestamp": started + epoch,
            "step": epoch,
            "is_nan": False,
        }
        for name, value in run.metrics.items()
        for epoch in range(1, _EPOCHS + 1)
    ]
    rows: dict[Any, list[dict[str, Any]]] = {SqlRun.__table__: [of_run]}
    for table, pairs in ((SqlTag, run.tags), (SqlParam, run.params)):
        rows[table.__table__] = [
            {"run_uuid": run_id, "key": key, "value": value} for key, value in pairs.items()
        ]
    if history:
        rows[SqlMetric.__table__] = history
        rows[SqlLatestMetric.__table__] = [row for row in history if row["step"] == _EPOCHS]
    return rows
