from __future__ import annotations

from collections.abc import Callable

import pytest
from mlflow import MlflowClient
from mlflow.entities import Run

from mlfd_tune.tracking.client import open_client

Runs = Callable[..., dict[str, Run]]


@pytest.fixture
def runs(uri: str) -> Runs:
    """Return the experiment's runs by name; two of one name are a failure."""

    def read(experiment: str = "exp", at: str = uri) -> dict[str, Run]:
        client: MlflowClient = open_client(at)
        found = client.get_experiment_by_name(experiment)
        assert found is not None
        listed = client.search_runs([found.experiment_id], max_results=1000)
        by_name = {run.info.run_name: run for run in listed}
        assert len(by_name) == len(listed), sorted(run.info.run_name for run in listed)
        return by_name

    return read
