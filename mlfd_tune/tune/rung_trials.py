"""The trials of a sweep that can be compared: those with a value at one and the same epoch.

A sweep stops poor trials early, so what its trials reported last belongs to different epochs. Such
values say as much about when a trial was stopped as about its parameters. Here all values are of
one epoch, the *rung*, and what is left out for that is counted.
"""

from __future__ import annotations

import itertools
import sqlite3
from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from optuna.distributions import BaseDistribution
from optuna.storages import RDBStorage
from optuna.trial import FrozenTrial, TrialState
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.pool import StaticPool

from mlfd_tune.core.errors import UserError, allowed_values
from mlfd_tune.tune.storage import quiet_optuna

__all__ = [
    "FEWEST",
    "Point",
    "RungTrials",
    "StoredStudy",
    "read_studies",
    "study_of",
    "trials_at",
]

FEWEST: Final = 6
"""Fewer points at a rung are not looked at; a forest has nothing to learn from them."""

_WAIT_S = 20.0  # how long another process may hold the file


@dataclass(frozen=True)
class StoredStudy:
    """A study as it stood in the file at one moment.

    Attributes:
        dataset: Its target dataset.
        trials: All of its trials, also those that run.
        plan: What it was asked to do, as `StudyPlan.as_json` has it; empty where that is missing.
    """

    dataset: str
    trials: tuple[FrozenTrial, ...]
    plan: Mapping[str, Any]


@dataclass(frozen=True)
class Point:
    """One point of the search space and what it reached at the rung.

    Attributes:
        params: Value by dotted key, as Optuna stores it; parameters that do not exist are missing.
        value: The metric at the rung.
    """

    params: Mapping[str, Any]
    value: float


@dataclass(frozen=True)
class RungTrials:
    """What one study has at one epoch.

    Attributes:
        dataset: The study's dataset.
        rung: The epoch, counted from 1.
        last: The last epoch of its trials, if any ran to the end.
        points: Every point once, in the order the trials were asked for.
        distributions: Of every parameter that exists in any of the points.
        repeated: How many further trials tried a point again.
        stopped: How many trials were stopped before the rung.
        unfinished: How many others have no value there: they failed, run or wait.
    """

    dataset: str
    rung: int
    last: int | None
    points: tuple[Point, ...]
    distributions: Mapping[str, BaseDistribution]
    repeated: int
    stopped: int
    unfinished: int


def read_studies(path: Path) -> list[StoredStudy]:
    """Read all studies of a storage file, which a running sweep may be writing to.

    The file is copied into memory first, as of one moment. Nothing is written beside it and nobody
    waits: with a write-ahead log a reader is in no writer's way.

    Raises:
        UserError: There is no such file, or it holds no studies.
    """
    if not path.is_file():
        raise UserError(f"{path}: there is no such file; a sweep keeps its studies in its folder")
    copy = sqlite3.connect(":memory:", check_same_thread=False)
    try:
        with closing(_opened(path)) as source:
            source.backup(copy)
        with quiet_optuna():
            options = {"creator": lambda: copy, "poolclass": StaticPool}
            storage = RDBStorage("sqlite://", engine_kwargs=options)
            studies = [
                StoredStudy(
                    study.study_name,
                    tuple(storage.get_all_trials(study._study_id, deepcopy=False)),
                    study.user_attrs.get("plan", {}),
                )
                for study in storage.get_all_studies()
            ]
    except (sqlite3.Error, SQLAlchemyError, RuntimeError) as error:
        why = str(error).strip().splitlines()[0]
        raise UserError(f"{path}: cannot be read as Optuna's studies: {why}") from error
    finally:
        copy.close()
    if not studies:
        raise UserError(f"{path}: holds no study")
    return studies


def trials_at(study: StoredStudy, rung: int | None) -> RungTrials:
    """Return a study's points with their values at one epoch.

    A point that was tried more than once counts once, with the value of its first trial: the same
    point is the same training, whose epochs come from the store, and no further evidence.

    Args:
        study: The study.
        rung: The epoch; None for the last one, at which trials that ran to the end have ended.

    Raises:
        UserError: The trials that ran to the end did so at different epochs, or fewer than
            `FEWEST` points have a value at the rung.
    """
    last = _last_epoch(study, asked=rung)
    if rung is None:
        if last is None:
            raise UserError(f"{study.dataset}: no trial has run to its end yet{_rungs(study)}")
        rung = last
    reached = [trial for trial in study.trials if rung in trial.intermediate_values]
    points = _distinct(reached, rung)
    if len(points) < FEWEST:
        raise UserError(
            f"{study.dataset}: {_counted(len(points), 'point')} with a value at epoch {rung}, "
            f"too few to learn from (allowed: epochs with at least {FEWEST}{_rungs(study)})"
        )
    missing = Counter(
        trial.state == TrialState.PRUNED
        for trial in study.trials
        if rung not in trial.intermediate_values
    )
    return RungTrials(
        study.dataset,
        rung,
        last,
        tuple(points),
        {name: d for trial in reached for name, d in trial.distributions.items()},
        repeated=len(reached) - len(points),
        stopped=missing[True],
        unfinished=missing[False],
    )


def study_of(studies: Sequence[StoredStudy], dataset: str) -> StoredStudy:
    """Return the study of a dataset.

    Raises:
        UserError: There is none.
    """
    by_name = {study.dataset: study for study in studies}
    if dataset not in by_name:
        known = allowed_values(dataset, by_name)
        raise UserError(f"--dataset: no study of {dataset!r} {known}")
    return by_name[dataset]


def _opened(path: Path) -> sqlite3.Connection:
    """Open the file to read from it, leaving no file beside it.

    A reader of a file with a write-ahead log makes that log and its index where they are missing.
    They are there whenever somebody writes; where they are not, nothing changes under the reader.
    """
    log = path.with_name(f"{path.name}-wal")
    how = "mode=ro" if log.exists() else "mode=ro&immutable=1"
    return sqlite3.connect(f"{path.absolute().as_uri()}?{how}", uri=True, timeout=_WAIT_S)


def _last_epoch(study: StoredStudy, asked: int | None) -> int | None:
    """Return the epoch at which the trials that ran to the end have ended, if any have."""
    ends = Counter(
        trial.last_step
        for trial in study.trials
        if trial.state == TrialState.COMPLETE and trial.last_step is not None
    )
    if len(ends) > 1 and asked is None:
        listed = ", ".join(
            f"{_counted(n, 'trial')} at {epoch}" for epoch, n in sorted(ends.items())
        )
        raise UserError(
            f"{study.dataset}: its trials ran to different last epochs ({listed}), whose values "
            f"cannot be compared; name one epoch with --rung{_rungs(study)}"
        )
    return max(ends, default=None)


def _distinct(trials: Sequence[FrozenTrial], rung: int) -> list[Point]:
    points: dict[tuple[tuple[str, Any], ...], Point] = {}
    for trial in sorted(trials, key=lambda trial: trial.number):
        key = tuple(sorted(trial.params.items(), key=lambda item: item[0]))
        points.setdefault(key, Point(trial.params, trial.intermediate_values[rung]))
    return list(points.values())


def _rungs(study: StoredStudy) -> str:
    """Say at which epochs how many points have a value."""
    epochs = sorted({epoch for trial in study.trials for epoch in trial.intermediate_values})
    if not epochs:
        return "; no epoch is on record yet"
    counted = [
        (epoch, len(_distinct([t for t in study.trials if epoch in t.intermediate_values], epoch)))
        for epoch in epochs
    ]
    told = []
    for number, group in itertools.groupby(counted, key=lambda pair: pair[1]):
        ends = [epoch for epoch, _ in group]
        span = str(ends[0]) if len(ends) == 1 else f"{ends[0]} to {ends[-1]}"
        told.append(f"epoch {span}: {number}")
    return f"; points by epoch: {', '.join(told)}"


def _counted(number: int, noun: str) -> str:
    return f"{number or 'no'} {noun}{'' if number == 1 else 's'}"
