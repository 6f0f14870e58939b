"""An open connection to one MLflow experiment, and which of its errors are final."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING

from mlfd_tune.core.printable import printable
from mlfd_tune.core.uris import hide_logins
from mlfd_tune.tracking.client import forget_database, open_client, reachable, sqlite_path
from mlfd_tune.tracking.limits import valid_name

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Experiment

__all__ = ["ReplacedError", "Session", "first_line", "is_final", "tag_begins", "tag_equals"]

# What repeating cannot mend. All else (no answer, locked database, expired login, full disk) is
# taken to pass.
_FINAL_ERRORS = frozenset(
    {
        "BAD_REQUEST",
        "INVALID_PARAMETER_VALUE",
        "INVALID_STATE",
        "MALFORMED_REQUEST",
        "RESOURCE_ALREADY_EXISTS",
        "RESOURCE_DOES_NOT_EXIST",
    }
)

# MLflow calls whatever its database says, but for a lost connection, a bad request. All of it bears
# a link to SQLAlchemy's pages, and only such errors are about what was to be stored.
_FROM_DATABASE = "sqlalche.me"
_ABOUT_DATA = re.compile(r"\b(Data|Integrity)Error\b|Truncation|OutOfRange|Violation")

_ABOUT_ITSELF = "(raised as a result of"  # what SQLAlchemy puts in front of what went wrong

_Inode = tuple[int, int]


class ReplacedError(ConnectionError):
    """The database is another one than the session was opened on: nothing sent there remains."""


class Session:
    """A client and the experiment it writes to, which is made if it does not exist.

    Args:
        uri: An URI that passed `check_uri`.
        experiment: The experiment's name.

    Raises:
        Exception: Whatever MLflow raises while it cannot be reached.
    """

    def __init__(self, uri: str, experiment: str) -> None:
        self._path = sqlite_path(uri)
        if self._path is None and not uri.startswith("http"):
            # MLflow itself would try for minutes.
            reason = reachable(uri)
            if reason:
                raise ConnectionError(reason)
        self.client: MlflowClient = open_client(uri, writes=True)
        self._uri = uri
        self._name = experiment
        found = self._find_or_make()
        self.experiment_id: str = found.experiment_id
        self.identity = _identity_of(found)
        self.by_proxy = found.artifact_location.startswith("mlflow-artifacts:")
        self._file = _inode(self._path)

    def is_gone(self) -> bool:
        """Tell whether the experiment was deleted, or is no longer the one that was opened."""
        found = self.client.get_experiment_by_name(self._name)
        return (
            found is None
            or found.lifecycle_stage != "active"
            or _identity_of(found) != self.identity
        )

    def has_run(self, run_id: str) -> bool:
        """Tell whether there is a run with this id, be it deleted."""
        try:
            self.client.get_run(run_id)
        except Exception as error:
            if not is_final(error):
                raise
            return False
        return True

    def require_file(self) -> None:
        """Make sure that what was written lies in the SQLite file that has the name now.

        A connection goes on with a file that was deleted, and what it writes there is lost.

        Raises:
            ReplacedError: The file was deleted or replaced.
        """
        if self._path is not None and _inode(self._path) != self._file:
            forget_database(self._uri)
            raise ReplacedError(f"{self._path} was deleted or replaced")

    def _find_or_make(self) -> Experiment:
        experiment = self.client.get_experiment_by_name(self._name)
        if experiment is None:
            try:
                made = self.client.create_experiment(self._name, self._artifact_location())
            except Exception as error:
                if not is_final(error):
                    raise
                # Another process made it in between; if not, the next attempt says why.
                raise ConnectionError(f"experiment {self._name!r}: {first_line(error)}") from error
            experiment = self.client.get_experiment(made)
        if experiment.lifecycle_stage != "active":
            raise ConnectionError(
                f"experiment {self._name!r} is deleted; restore it with "
                f"`mlflow experiments restore -x {experiment.experiment_id}`"
            )
        return experiment

    def _artifact_location(self) -> str | None:
        """Artifacts lie beside a SQLite file, not in whatever folder the process was started."""
        path = sqlite_path(self._uri)
        if path is None:
            return None
        return (path.parent / "mlartifacts" / valid_name(self._name)).as_uri()


def is_final(error: Exception) -> bool:
    """Tell whether MLflow refused the data itself, so that repeating the call is pointless."""
    from mlflow.exceptions import MlflowException

    if not isinstance(error, MlflowException) or error.error_code not in _FINAL_ERRORS:
        return False
    text = str(error.message)
    if text.startswith("API request to"):  # not MLflow's own answer, such as a proxy's 404 page
        return False
    return _FROM_DATABASE not in text or _ABOUT_DATA.search(text) is not None


def tag_equals(tag: str, value: str) -> str:
    """Return the clause of an MLflow search filter for ``tag = value``."""
    quote = '"' if "'" in value else "'"
    return f"tags.`{tag}` = {quote}{value.replace(quote, '')}{quote}"


def tag_begins(tag: str, prefix: str) -> str:
    """Return the clause of an MLflow search filter for a tag that begins with `prefix`.

    Args:
        tag: Its name.
        prefix: Of letters, digits and slashes.
    """
    return f"tags.`{tag}` LIKE '{prefix}%'"


def _identity_of(experiment: Experiment) -> str:
    # A new database counts its experiments from 1 again: the creation time tells it apart. One that
    # has moved to another address is still the same.
    return f"{experiment.experiment_id} {experiment.creation_time}"


def _inode(path: Path | None) -> _Inode | None:
    try:
        about = path.stat() if path else None
    except OSError:
        return None
    return (about.st_dev, about.st_ino) if about else None


def first_line(error: Exception | str) -> str:
    """Return an error's first line without logins in URIs, at most 200 characters of it."""
    lines = [line for line in str(error).strip().split("\n") if not line.startswith(_ABOUT_ITSELF)]
    return printable(hide_logins(lines[0] if lines else type(error).__name__))[:200]
