"""What is exported of a configuration: its runs in MLflow and its artifacts in the store."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mlfd_tune.config import Provenance, StoreSettings
from mlfd_tune.config.reading import parse_yaml
from mlfd_tune.core.errors import UserError
from mlfd_tune.core.store import Artifact, Store
from mlfd_tune.core.uris import without_login
from mlfd_tune.tracking import vocabulary
from mlfd_tune.tracking.client import absolute_uri
from mlfd_tune.tracking.export_expected import expected_values
from mlfd_tune.tracking.leaderboard import Row

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Run

__all__ = ["Source", "read_source"]

_STUDENT = "student"


@dataclass(frozen=True)
class Source:
    """One configuration with all that is known of it.

    Attributes:
        row: The leaderboard's row.
        run: The run of the exported seed: the one that does best on validation.
        metrics: Metrics of every seed's run, in percent.
        config: Content of the configuration file that trains this seed.
        artifacts: What its student is made of, by label, and itself as ``student``; those that the
            store still has. A baseline goes by ``student`` too.
        uri: MLflow tracking URI.
        store: The artifact store.
    """

    row: Row
    run: Run
    metrics: Mapping[int, Mapping[str, float]]
    config: Mapping[str, Any]
    artifacts: Mapping[str, Artifact]
    uri: str
    store: Store

    @property
    def seed(self) -> int:
        """The exported seed."""
        return int(self.run.data.tags[vocabulary.SEED])

    @property
    def student(self) -> Artifact | None:
        """The student's artifact, or None when the store no longer has it."""
        return self.artifacts.get(_STUDENT)

    def content(self, provenance: Provenance) -> dict[str, Any]:
        """Return the configuration with where it comes from, as it is exported."""
        return {
            **self.config,
            "name": self.row.experiment,
            "store": StoreSettings(path=str(self.store.root)).model_dump(exclude_none=True),
            "tracking": {"uri": without_login(absolute_uri(self.uri))},
            "provenance": provenance.model_dump(),
        }

    def provenance(self, files: Mapping[str, str], weights: str | None) -> Provenance:
        """Return where it comes from and what it should reproduce.

        Args:
            files: Checksums of the other files of the bundle, by name.
            weights: Which of them holds the weights.
        """
        row, tags = self.row, self.run.data.tags
        stated = {
            "val/acc1": row.val,
            "test/acc1": row.test,
            "gain": row.gain,
            "gain_over_own_teacher": row.gain_over_own_teacher,
        }
        keys = {name: artifact.key for name, artifact in self.artifacts.items()}
        return Provenance(
            experiment=row.experiment,
            run_id=self.run.info.run_id,
            tracking_uri=without_login(absolute_uri(self.uri)),
            versions=dict(self._versions()),
            data={
                artifact.manifest.dataset or "": artifact.key
                for artifact in self.artifacts.values()
                if artifact.manifest.stage == "dataset"
            },
            artifacts={_STUDENT: tags[vocabulary.ARTIFACT_KEY], **keys},
            seed=self.seed,
            status=row.status,
            expected=expected_values(self.metrics, self.seed, stated),
            weights=weights,
            weights_sha256=files[weights] if weights else None,
            files=dict(files),
        )

    def _versions(self) -> Iterator[tuple[str, str]]:
        """Yield libraries' versions, and what hardware there was."""
        if self.student is not None:
            yield from self.student.manifest.versions.items()
        for name, value in self.run.data.tags.items():
            if name.startswith("mlfd.version."):
                yield name.removeprefix("mlfd.version."), value
            elif name.startswith("mlfd.hardware."):
                yield name.removeprefix("mlfd."), value


def read_source(client: MlflowClient, uri: str, row: Row, store: Store) -> Source:
    """Return what is known of a row's configuration.

    Raises:
        UserError: The run's configuration is none.
    """
    # One set of weights is exported: the seed that does best on validation.
    runs = [client.get_run(run_id) for run_id in row.run_ids]
    run = max(runs, key=lambda run: run.data.metrics["val/acc1"])
    metrics = {int(one.data.tags[vocabulary.SEED]): dict(one.data.metrics) for one in runs}
    key = run.data.tags[vocabulary.ARTIFACT_KEY]
    artifacts = dict(_artifacts(store, key))
    return Source(row, run, metrics, _resolved_config(client, run), artifacts, uri, store)


def _resolved_config(client: MlflowClient, run: Run) -> dict[str, Any]:
    with tempfile.TemporaryDirectory() as folder:
        path = client.download_artifacts(run.info.run_id, "config.yaml", folder)
        content = parse_yaml(
            Path(path).read_text(encoding="utf-8", errors="replace"),
            f"config.yaml of run {run.info.run_id}",
        )
    if not isinstance(content, dict) or not content.keys() >= {"method", "students"}:
        raise UserError(f"config.yaml of run {run.info.run_id} is no configuration of a student")
    return content


def _artifacts(store: Store, student: str) -> dict[str, Artifact]:
    """Return the artifacts below a student by their labels, and itself."""
    found: dict[str, Artifact] = {}
    seen: set[str] = set()

    def visit(key: str, name: str | None = None) -> None:
        if key in seen or not key.isalnum():  # a server may say anything: it is part of a path
            return
        seen.add(key)
        for path in store.root.glob(f"artifacts/*/{key}"):
            artifact = Artifact.open(path)
            label = name or artifact.manifest.label
            if label in found:  # such as one dataset at two image sizes
                label = f"{label} [{key[:8]}]"
            found[label] = artifact
            for below in artifact.manifest.below:
                visit(below)

    visit(student, _STUDENT)
    return found
