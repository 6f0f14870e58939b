"""Adding files and metrics to MLflow from outside a sweep: to a run by its id, or to a new one.

At once and not through an outbox: a command that a person waits for says clearly when MLflow is
away, and can be called again.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from mlfd_tune.core.errors import UserError
from mlfd_tune.tracking import vocabulary
from mlfd_tune.tracking.client import check_uri, open_client, reachable, shown_uri, sqlite_path
from mlfd_tune.tracking.limits import MAX_RUN_NAME_LENGTH, shortened
from mlfd_tune.tracking.session import Session, tag_equals

if TYPE_CHECKING:
    from mlflow.entities import Run

__all__ = ["EVALUATION", "EVALUATION_OF", "evaluation_run", "find_run", "log_to_run", "why_away"]

EVALUATION = "evaluation"
"""The kind of a run that holds the evaluation of a network that no other run is of."""
EVALUATION_OF = "mlfd.evaluation_of"
"""On such a run: the key of the network's artifact. One run per key and experiment."""


def why_away(uri: str) -> str | None:
    """Return why runs cannot be logged to `uri` now, in a few words, or None when they can.

    Raises:
        UserError: It is no tracking URI.
    """
    check_uri(uri)
    return reachable(uri)


def find_run(uri: str, run_id: str) -> Run | None:
    """Return a run that is not deleted, or None when `uri` has no such run or is away.

    A SQLite file that does not exist is not made.

    Raises:
        UserError: It is no tracking URI.
    """
    path = sqlite_path(uri)
    if why_away(uri) is not None or (path is not None and not path.exists()):
        return None
    from mlflow.exceptions import MlflowException

    try:
        run = open_client(uri).get_run(run_id)
    except MlflowException:
        return None
    return run if run.info.lifecycle_stage == "active" else None


def evaluation_run(uri: str, experiment: str, key: str, name: str, tags: Mapping[str, str]) -> str:
    """Return the id of the experiment's run of kind `EVALUATION` for a network; made if missing.

    Args:
        uri: MLflow tracking URI.
        experiment: Name of the experiment; made if missing.
        key: Key of the network's artifact.
        name: The run's name, if it is made.
        tags: What describes the network.

    Raises:
        UserError: MLflow cannot be reached or refuses.
    """
    with _in_one_line(uri):
        session = Session(uri, experiment)
        found = session.client.search_runs(
            [session.experiment_id], tag_equals(EVALUATION_OF, key), max_results=1
        )
        if found:
            return str(found[0].info.run_id)
        own = {vocabulary.KIND: EVALUATION, EVALUATION_OF: key}
        run = session.client.create_run(
            session.experiment_id,
            tags={**vocabulary.environment_tags(), **tags, **own},
            run_name=shortened(name, MAX_RUN_NAME_LENGTH),
        )
        session.client.set_terminated(run.info.run_id, "FINISHED")
        return str(run.info.run_id)


def log_to_run(
    uri: str, run_id: str, files: Sequence[Path], folder: str, metrics: Mapping[str, float]
) -> list[str]:
    """Add files, and those metrics that the run does not have yet.

    A metric that is there stays as it is: it was measured when the run was.

    Args:
        uri: MLflow tracking URI.
        run_id: The run.
        files: What to log; files of the same names are replaced.
        folder: Folder among the run's artifacts.
        metrics: Values by name, all finite.

    Returns:
        The names of the metrics that were added.

    Raises:
        UserError: MLflow cannot be reached or refuses.
    """
    with _in_one_line(uri):
        from mlflow.entities import Metric

        client = open_client(uri)
        known = client.get_run(run_id).data.metrics
        now = int(time.time() * 1000)
        new = {name: value for name, value in metrics.items() if name not in known}
        entries = [Metric(name, value, now, 0) for name, value in new.items()]
        client.log_batch(run_id, metrics=entries)
        for file in files:
            client.log_artifact(run_id, str(file), folder)
    return list(new)


@contextlib.contextmanager
def _in_one_line(uri: str) -> Iterator[None]:
    """Turn whatever MLflow and its storage raise inside the block into one line for people."""
    reason = why_away(uri)
    if reason is not None:
        raise UserError(f"tracking uri: {shown_uri(uri)} cannot be reached ({reason})")
    try:
        yield
    except UserError:
        raise
    except Exception as error:  # a storage's client may raise anything
        told = " ".join(str(error).split()) or type(error).__name__
        raise UserError(f"tracking uri: {shown_uri(uri)}: {told[:400]}") from error
