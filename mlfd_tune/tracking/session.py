"""An open connection to one MLflow experiment, and which of its errors are final."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mlfd_tune.tracking.client import open_client, shown_uri, sqlite_path
from mlfd_tune.tracking.limits import valid_name

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Experiment

__all__ = ["Session", "is_final", "tag_equals"]

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


class Session:
    """A client and the experiment it writes to, which is made if it does not exist.

    Args:
        uri: An URI that passed `check_uri`.
        experiment: The experiment's name.

    Raises:
        Exception: Whatever MLflow raises while it cannot be reached.
    """

    def __init__(self, uri: str, experiment: str) -> None:
        self.client: MlflowClient = open_client(uri)
        self._uri = uri
        self._name = experiment
        self.experiment_id, self.identity = self._find_or_make()

    def is_gone(self) -> bool:
        """Tell whether the experiment was deleted, or is no longer the one that was opened."""
        found = self.client.get_experiment_by_name(self._name)
        return (
            found is None
            or found.lifecycle_stage != "active"
            or self._identity_of(found) != self.identity
        )

    def _find_or_make(self) -> tuple[str, str]:
        experiment = self.client.get_experiment_by_name(self._name)
        if experiment is None:
            try:
                made = self.client.create_experiment(self._name, self._artifact_location())
            except Exception as error:
                if not is_final(error):
                    raise
                # Another process made it in between; if not, the next attempt says why.
                raise ConnectionError(f"experiment {self._name!r}: {_first_line(error)}") from error
            experiment = self.client.get_experiment(made)
        if experiment.lifecycle_stage != "active":
            raise ConnectionError(
                f"experiment {self._name!r} is deleted; restore it with "
                f"`mlflow experiments restore -x {experiment.experiment_id}`"
            )
        return experiment.experiment_id, self._identity_of(experiment)

    def _identity_of(self, experiment: Experiment) -> str:
        # A new database counts its experiments from 1 again: the creation time tells it apart.
        return f"{shown_uri(self._uri)} {experiment.experiment_id} {experiment.creation_time}"

    def _artifact_location(self) -> str | None:
        """Artifacts lie beside a SQLite file, not in whatever folder the process was started."""
        path = sqlite_path(self._uri)
        if path is None:
            return None
        return (path.parent / "mlartifacts" / valid_name(self._name)).as_uri()


def is_final(error: Exception) -> bool:
    """Tell whether MLflow refused the data itself, so that repeating the call is pointless."""
    from mlflow.exceptions import MlflowException

    return (
        isinstance(error, MlflowException)
        and error.error_code in _FINAL_ERRORS
        # An answer that is not MLflow's own, such as a proxy's 404 page.
        and not error.message.startswith("API request to")
    )


def tag_equals(tag: str, value: str) -> str:
    """Return the clause of an MLflow search filter for ``tag = value``."""
    quote = '"' if "'" in value else "'"
    return f"tags.`{tag}` = {quote}{value.replace(quote, '')}{quote}"


def _first_line(error: Exception) -> str:
    return str(error).strip().split("\n", 1)[0][:200] or type(error).__name__
