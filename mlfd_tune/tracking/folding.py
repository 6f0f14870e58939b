"""The same configuration in several experiments: what makes it the same, and where it stands then.

Configurations are the same when dataset, method and the hash of all settings but the seed are the
same, and when the images were: the artifact that a run's packed dataset came from. A folder of
images that changed in between is thus not folded, though the settings name it alike. Which seed
counts when several experiments have trained it is the leaderboard's rule: the latest.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace

from mlfd_tune.tracking import vocabulary
from mlfd_tune.tracking.client import open_client
from mlfd_tune.tracking.results import Result

__all__ = ["in_one_place"]


def in_one_place(uri: str, results: Sequence[Result]) -> list[Result]:
    """Return the results as if one experiment had them all, apart for different images.

    A run that does not tell its images stays with its own experiment.

    Args:
        uri: MLflow tracking URI, asked for the artifact behind each experiment's dataset.
        results: Runs of any experiments.
    """
    keys = _artifact_keys(uri, {result.data for result in results if result.data})
    return [
        replace(result, experiment="", sweep=keys[result.data])
        if result.data in keys
        else replace(result, experiment="", sweep=f"{result.experiment} {result.sweep}")
        for result in results
    ]


def _artifact_keys(uri: str, run_ids: Iterable[str]) -> dict[str | None, str]:
    """Return the keys of the artifacts that stage runs wrote, by the runs' ids."""
    from mlflow.exceptions import MlflowException

    client = open_client(uri)
    keys: dict[str | None, str] = {}
    for run_id in run_ids:
        try:
            key = client.get_run(run_id).data.tags.get(vocabulary.ARTIFACT_KEY)
        except MlflowException as error:
            if error.error_code != "RESOURCE_DOES_NOT_EXIST":
                raise
            continue  # removed for good
        if key is not None:
            keys[run_id] = key
    return keys
