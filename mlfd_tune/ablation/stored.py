"""The configuration that a run had, as it is kept with the run in MLflow."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import yaml
from pydantic import ValidationError

from mlfd_tune.config import AblationConfig, SweepConfig
from mlfd_tune.core.errors import UserError

if TYPE_CHECKING:
    from mlflow import MlflowClient

__all__ = ["CONFIG", "stored_config"]

CONFIG = "experiment.yaml"
"""The artifact of a sweep's or ablation's run that says what was run."""


def stored_config(client: MlflowClient, run_id: str) -> AblationConfig | SweepConfig:
    """Return the configuration of a sweep or an ablation.

    It is complete: includes, a base and overrides are merged, so that no other file is asked.

    Args:
        client: An open client.
        run_id: MLflow's id of the experiment's own run.

    Raises:
        UserError: It is not there, or this version does not understand it.
    """
    from mlflow.exceptions import MlflowException

    with tempfile.TemporaryDirectory() as folder:
        try:
            file = client.download_artifacts(run_id, CONFIG, folder)
        except (MlflowException, OSError) as error:
            raise UserError(f"run {run_id} has no artifact {CONFIG} in MLflow") from error
        raw = yaml.safe_load(Path(file).read_text(encoding="utf-8"))
    kind = AblationConfig if raw.get("kind") == "ablation" else SweepConfig
    try:
        return kind.model_validate(raw)
    except ValidationError as error:
        raise UserError(
            f"run {run_id}: its {CONFIG} is not valid here, it was written by another version "
            f"({error.errors()[0]['msg']})"
        ) from error
