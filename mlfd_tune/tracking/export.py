"""Exporting the best configuration of every dataset: a YAML file that trains it, and weights."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from mlfd_tune.config import Provenance, StoreSettings
from mlfd_tune.core.errors import UserError
from mlfd_tune.core.methods import METHODS
from mlfd_tune.core.statistics import Interval
from mlfd_tune.core.store import Artifact, Store
from mlfd_tune.core.store.artifact import file_digest, write_atomically
from mlfd_tune.tracking import vocabulary
from mlfd_tune.tracking.client import absolute_uri, open_client
from mlfd_tune.tracking.leaderboard import Row, leaderboard

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Run

__all__ = ["Exported", "best_rows", "export_best"]


@dataclass(frozen=True)
class Exported:
    """What was written for one dataset.

    Attributes:
        row: The leaderboard's row it comes from.
        config: The YAML file.
        weights: The safetensors file; None when the store no longer has them.
        better_control: A baseline or control with higher validation accuracy, if there is one.
    """

    row: Row
    config: Path
    weights: Path | None
    better_control: Row | None


def best_rows(rows: Sequence[Row]) -> dict[str, Row]:
    """Return each dataset's best configuration: confirmed before provisional, then validation.

    Baselines and controls are not candidates: they are what candidates are compared with.
    """
    best: dict[str, Row] = {}
    for row in rows:  # sorted by the leaderboard
        if not _is_comparison(row.method):
            best.setdefault(row.dataset, row)
    return best


def export_best(
    uri: str, experiment: str, folder: Path, store_path: str, dataset: str | None = None
) -> list[Exported]:
    """Write the best configuration of every dataset to `folder`.

    Args:
        uri: MLflow tracking URI.
        experiment: Name of the experiment.
        folder: Where ``<dataset>.yaml`` and ``<dataset>.safetensors`` go.
        store_path: The artifact store that has the weights.
        dataset: Only this dataset.

    Raises:
        UserError: There is nothing to export.
    """
    # Of all runs: a later one without confirmation must not hide an earlier one with it.
    rows = leaderboard(uri, experiment, dataset=dataset, all_runs=True)
    best = best_rows(rows)
    if not best:
        raise UserError(f"{experiment}: no finished run to export")
    folder.mkdir(parents=True, exist_ok=True)
    client, store = open_client(uri), Store(store_path)
    exported = []
    for row in best.values():
        better = [
            other
            for other in rows
            if (other.dataset, other.sweep, other.status) == (row.dataset, row.sweep, row.status)
            and _is_comparison(other.method)
            and _mean(other.val) > _mean(row.val)
        ]
        exported.append(_export(client, uri, row, folder, store, next(iter(better), None)))
    return exported


def _export(
    client: MlflowClient, uri: str, row: Row, folder: Path, store: Store, better: Row | None
) -> Exported:
    # One set of weights is exported: the seed that does best on validation.
    runs = [client.get_run(run_id) for run_id in row.run_ids]
    run = max(runs, key=lambda run: run.data.metrics["val/acc1"])
    artifacts = _artifacts(run, store)
    student = artifacts.get("student")
    weights = None
    if student is not None:
        weights = folder / f"{row.dataset}.safetensors"
        temporary = weights.with_suffix(".tmp")
        shutil.copyfile(student.path / "model.safetensors", temporary)
        temporary.replace(weights)
    content = _resolved_config(client, run)
    content["name"] = row.experiment
    content["store"] = StoreSettings(path=str(store.root)).model_dump(exclude_none=True)
    content["tracking"] = {"uri": absolute_uri(uri)}
    content["provenance"] = _provenance(row, run, uri, artifacts, weights).model_dump()
    path = folder / f"{row.dataset}.yaml"
    text = yaml.safe_dump(content, sort_keys=False, allow_unicode=True, width=100)
    write_atomically(path, text.encode())
    return Exported(row, path, weights, better)


def _resolved_config(client: MlflowClient, run: Run) -> dict[str, Any]:
    with tempfile.TemporaryDirectory() as folder:
        path = client.download_artifacts(run.info.run_id, "config.yaml", folder)
        content: dict[str, Any] = yaml.safe_load(Path(path).read_text())
    return content


def _artifacts(run: Run, store: Store) -> dict[str, Artifact]:
    """Return the artifacts below the run's student by their labels, and it as ``student``.

    A baseline goes by ``student`` too: both are what the exported file trains.
    """
    found: dict[str, Artifact] = {}

    def visit(key: str, name: str | None = None) -> None:
        for path in store.root.glob(f"artifacts/*/{key}"):
            artifact = Artifact.open(path)
            label = name or artifact.manifest.label
            if label not in found:
                found[label] = artifact
                for below in artifact.manifest.below:
                    visit(below)

    visit(run.data.tags[vocabulary.ARTIFACT_KEY], "student")
    return found


def _provenance(
    row: Row, run: Run, uri: str, artifacts: dict[str, Artifact], weights: Path | None
) -> Provenance:
    tags, metrics = run.data.tags, run.data.metrics
    expected: dict[str, float | None] = {
        name: metrics[name]
        for name in ("val/acc1", "val/acc5", "test/acc1", "test/acc5")
        if name in metrics
    }
    for name, interval in (("val/acc1", row.val), ("test/acc1", row.test), ("gain", row.gain)):
        if interval is not None:
            expected |= {
                f"{name} mean": interval.mean,
                f"{name} low": interval.low,
                f"{name} high": interval.high,
            }
    versions = {
        name.removeprefix("mlfd.version."): value
        for name, value in tags.items()
        if name.startswith("mlfd.version.")
    }
    keys = {name: artifact.key for name, artifact in artifacts.items()}
    return Provenance(
        experiment=row.experiment,
        run_id=run.info.run_id,
        tracking_uri=absolute_uri(uri),
        versions=versions,
        data={
            artifact.manifest.dataset or "": artifact.key
            for artifact in artifacts.values()
            if artifact.manifest.stage == "dataset"
        },
        artifacts=keys,
        seed=int(tags[vocabulary.SEED]),
        status=row.status,
        expected=expected,
        weights=weights.name if weights else None,
        weights_sha256=file_digest(weights) if weights else None,
    )


def _is_comparison(method: str) -> bool:
    """Tell baselines and controls from methods; a method that is not installed here is one."""
    known = METHODS.get(method)
    return known is not None and known.role != "method"


def _mean(interval: Interval | None) -> float:
    return interval.mean if interval else float("-inf")
