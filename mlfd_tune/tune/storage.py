"""The file, or database, that holds the studies, and how a study is made in it."""

from __future__ import annotations

import sqlite3
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import optuna
from optuna.storages import BaseStorage, RDBStorage, get_storage
from optuna.trial import TrialState
from sqlalchemy import Engine, event
from sqlalchemy.engine import ExceptionContext
from sqlalchemy.exc import OperationalError, SQLAlchemyError

from mlfd_tune.core.errors import UserError
from mlfd_tune.tune.plans import StudyPlan
from mlfd_tune.tune.pruners import make_pruner
from mlfd_tune.tune.space import optuna_point

__all__ = ["open_storage", "open_study", "quiet_optuna", "storage_url"]

_SQLITE = "sqlite:///"


class _Connection(sqlite3.Connection):
    """A connection whose commits survive the death of the process without waiting for the disk.

    By default each commit waits for the disk several times, and a trial commits some 30 times. With
    a write-ahead log nothing waits, and the file is sound whatever happens; should the machine
    itself die, the last seconds may be missing, and those epochs are taken from the store again.
    """

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self.execute("PRAGMA journal_mode = WAL")  # stays as it is where the place does not allow
        self.execute("PRAGMA synchronous = NORMAL")


def storage_url(storage: str | Path) -> str:
    """Return the SQLAlchemy URL of a storage.

    Args:
        storage: A URL, or the path of an SQLite file. Relative paths are made absolute, because
            worker processes have other working directories.
    """
    text = str(storage)
    if text.startswith(_SQLITE):
        text = text.removeprefix(_SQLITE)
    elif "://" in text:
        return text
    return _SQLITE + str(Path(text).absolute())


def open_storage(url: str) -> BaseStorage:
    """Open the storage, creating the file and its folder if there are none.

    When reading or writing fails later on, because the disk is full or the database is gone, what
    is called raises a `UserError`, and so does everything from then on: nothing is recorded after
    something that is not.

    Raises:
        UserError: If that cannot be done.
    """
    connect = {"timeout": 60, "factory": _Connection}  # seconds to wait for a lock
    engine = {"connect_args": connect} if url.startswith(_SQLITE) else None
    try:
        if url.startswith(_SQLITE):
            Path(url.removeprefix(_SQLITE)).parent.mkdir(parents=True, exist_ok=True)
        with quiet_optuna():
            storage = RDBStorage(url, engine_kwargs=engine)
            _stop_at_first_failure(storage.engine, url)
            return get_storage(storage)
    except (SQLAlchemyError, ImportError, OSError, ValueError, RuntimeError) as error:
        why = str(error).strip().splitlines()[0]
        raise UserError(
            f"storage {url}: cannot be opened: {why} "
            "(allowed: the path of an SQLite file, or a database URL such as "
            "postgresql://user@host/name)"
        ) from error


def open_study(storage: BaseStorage, plan: StudyPlan) -> optuna.Study:
    """Open the plan's study, creating it and queueing its first points where they are missing.

    Raises:
        UserError: If the study was started with other settings.
    """
    with quiet_optuna():
        study = optuna.create_study(
            storage=storage,
            study_name=plan.dataset,
            direction="maximize",
            pruner=make_pruner(plan.settings, plan.epochs),
            load_if_exists=True,
        )
        started_with = study.user_attrs.get("plan")
        if started_with != plan.as_json():
            plan.check_against(started_with)
            study.set_metric_names([plan.settings.metric])
            study.set_user_attr("plan", plan.as_json())
        queued = {trial.user_attrs.get("queued") for trial in study.get_trials(deepcopy=False)}
        for i, point in enumerate(plan.queue):
            if i not in queued:
                study.enqueue_trial(optuna_point(point), user_attrs={"queued": i})
        # Hyperband works out its brackets when it first judges a trial. Samplers need them before
        # that, or the first draw after a restart would ignore what its bracket has seen.
        study.pruner.prune(study, optuna.trial.create_trial(state=TrialState.RUNNING))
    return study


def _stop_at_first_failure(engine: Engine, url: str) -> None:
    failed: list[UserError] = []

    @event.listens_for(engine, "handle_error")
    def explain(context: ExceptionContext) -> None:
        if isinstance(context.sqlalchemy_exception, OperationalError):
            why = str(context.original_exception).strip().splitlines()[0]
            failed.append(
                UserError(
                    f"storage {url}: {why}; what was recorded stays: mend that (free space, start "
                    "the database) and go on with --resume"
                )
            )
            raise failed[0] from context.original_exception

    @event.listens_for(engine, "before_cursor_execute")
    def refuse(*arguments: object) -> None:
        if failed:
            raise failed[0]


@contextmanager
def quiet_optuna() -> Iterator[None]:
    """Silence Optuna's progress lines, and its notes on experimental features and samplers."""
    verbosity = optuna.logging.get_verbosity()
    talks = verbosity < optuna.logging.ERROR  # setting a level makes all loggers look theirs up
    if talks:
        optuna.logging.set_verbosity(optuna.logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
            yield
    finally:
        if talks:
            optuna.logging.set_verbosity(verbosity)
