"""Everything a report is made from, read once: MLflow, the run's folder and the store."""

from __future__ import annotations

import math
import shlex
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import yaml
from pydantic import ValidationError

from mlfd_tune.ablation.comparison import AblationResult, read_ablation
from mlfd_tune.config import KINDS, AblationConfig, SweepConfig
from mlfd_tune.core.names import problem_with_name
from mlfd_tune.core.store import Store
from mlfd_tune.report.page.confirmed import Confirmed, best_confirmed
from mlfd_tune.report.page.readings import Readings, kept_readings
from mlfd_tune.report.page.recorded import (
    Parent,
    StageRun,
    TrainingRun,
    find_parent,
    stage_runs,
    training_runs,
)
from mlfd_tune.tracking.client import open_client, shown_uri
from mlfd_tune.tracking.leaderboard import Row, leaderboard

if TYPE_CHECKING:
    from mlflow import MlflowClient

__all__ = ["Material", "gather"]

_CONFIG = "experiment.yaml"
_DEFAULT = "sqlite:///mlflow.db"  # what commands take where they are told nothing


@dataclass
class Material:
    """A sweep or ablation and where to ask for more about it.

    Attributes:
        uri: MLflow tracking URI.
        parent: The sweep's or ablation's own run.
        trainings: Its trials, confirmations and arms, however they ended.
        stages: The experiment's stages by MLflow's id.
        rows: Its rows of the leaderboard.
        text: Its configuration file with everything included; empty where it was not logged.
        folder: The run's folder; None where it is not at hand.
        store: The artifact store; None where it is not at hand.
    """

    uri: str
    parent: Parent
    trainings: tuple[TrainingRun, ...]
    stages: dict[str, StageRun]
    rows: tuple[Row, ...]
    text: str
    folder: Path | None
    store: Store | None
    _histories: dict[tuple[str, str], dict[int, float]] = field(default_factory=dict, repr=False)
    _listed: dict[tuple[str, str], frozenset[str]] = field(default_factory=dict, repr=False)

    @cached_property
    def client(self) -> MlflowClient:
        """A client of the tracking server."""
        return open_client(self.uri)

    @cached_property
    def raw(self) -> dict[str, Any]:
        """The configuration file's content; empty where it was not logged."""
        content = yaml.safe_load(self.text) if self.text else {}
        return content if isinstance(content, dict) else {}

    @cached_property
    def sweep(self) -> SweepConfig | None:
        """The configuration of a sweep; None for an ablation, or where this version refuses it."""
        config = self._config()
        return config if isinstance(config, SweepConfig) else None

    @cached_property
    def ablation(self) -> AblationConfig | None:
        """The configuration of an ablation; None likewise."""
        config = self._config()
        return config if isinstance(config, AblationConfig) else None

    @cached_property
    def datasets(self) -> list[str]:
        """The target datasets, in the order of the configuration."""
        config = self.sweep or self.ablation
        order = list(config.target_names) if config else []
        found = dict.fromkeys(one.dataset for one in self.trainings)
        return sorted(found, key=lambda name: order.index(name) if name in order else len(order))

    @cached_property
    def compared(self) -> AblationResult | None:
        """What an ablation showed; None where its configuration is not known.

        Raises:
            UserError: Its runs may not be compared.
        """
        if self.ablation is None:
            return None
        return read_ablation(self.uri, self.parent.experiment, self.ablation, self.parent.id)

    @cached_property
    def confirmed(self) -> list[Confirmed]:
        """The best confirmed configuration of each dataset that has one."""
        return best_confirmed(self.datasets, self.rows, self.trainings)

    @cached_property
    def readings(self) -> Readings:
        """What the store has of test splits that were read."""
        return {} if self.store is None else kept_readings(self.store)

    def of_kind(self, kind: str) -> list[TrainingRun]:
        """Return the trainings of a kind."""
        return [one for one in self.trainings if one.kind == kind]

    def history(self, run_id: str, metric: str) -> dict[int, float]:
        """Return a metric of a run by epoch; of a value that was sent twice, the later one."""
        if (run_id, metric) not in self._histories:
            points = self.client.get_metric_history(run_id, metric)
            self._histories[run_id, metric] = {
                point.step: point.value
                for point in sorted(points, key=lambda point: (point.step, point.timestamp))
                if math.isfinite(point.value)
            }
        return self._histories[run_id, metric]

    def artifact(self, run_id: str, path: str) -> bytes | None:
        """Return a file among a run's artifacts, or None where it has none of that name."""
        folder = path.rpartition("/")[0]
        if (run_id, folder) not in self._listed:
            self._listed[run_id, folder] = _listed(self.client, run_id, folder)
        if path not in self._listed[run_id, folder]:
            return None
        return _downloaded(self.client, run_id, path)

    def command(self, *words: str) -> str:
        """Return a line for the shell that calls `mlfd-tune` with words about this very run."""
        return self.experiment_command(*words, "--run", self.parent.id)

    def experiment_command(self, *words: str) -> str:
        """Return a line likewise, for commands that take no run."""
        return shlex.join(["mlfd-tune", *words, *self._where()])

    def again(self) -> str:
        """Return the line that runs the experiment again, from the configuration shown."""
        return shlex.join(["mlfd-tune", "run", f"{self.parent.experiment}.yaml"])

    def excerpt(self, *keys: str) -> str:
        """Return these keys of the configuration as YAML; those it does not set are left out."""
        chosen = {key: self.raw[key] for key in keys if key in self.raw}
        return as_yaml(chosen) if chosen else ""

    def _where(self) -> list[str]:
        return [] if self.uri == _DEFAULT else ["--uri", shown_uri(self.uri)]

    def _config(self) -> SweepConfig | AblationConfig | None:
        model = KINDS.get(self.parent.kind)
        try:
            config = model.model_validate(self.raw) if model and self.raw else None
        except ValidationError:  # written by another version
            return None
        return config if isinstance(config, SweepConfig | AblationConfig) else None


def gather(uri: str, experiment: str, run: str | None, runs: Path, store: Path | str) -> Material:
    """Read what there is about a run.

    Args:
        uri: MLflow tracking URI.
        experiment: Name of the experiment.
        run: Id of the run; None for the latest finished one.
        runs: The folder of all runs; that of this one need not be there.
        store: The artifact store; need not be there.

    Raises:
        UserError: No such database, experiment or run, or none is finished.
    """
    # Asked first, for it says what is wrong with either name, and makes no database.
    rows = leaderboard(uri, experiment, all_runs=True)
    client = open_client(uri)
    parent = find_parent(client, experiment, run)
    folder = runs / experiment / parent.id
    has_store = (Path(store) / "artifacts").is_dir()
    material = Material(
        uri=uri,
        parent=parent,
        trainings=tuple(training_runs(client, parent)),
        stages=stage_runs(client, parent),
        rows=tuple(row for row in rows if row.sweep in (parent.id, parent.run_id)),
        text="",
        # What a server calls the run may not lead to another folder.
        folder=folder if problem_with_name(parent.id) is None and folder.is_dir() else None,
        store=Store(store) if has_store else None,
    )
    material.text = (material.artifact(parent.run_id, _CONFIG) or b"").decode(errors="replace")
    return material


def as_yaml(content: Any) -> str:
    """Return readable YAML in the order given."""
    return yaml.safe_dump(content, sort_keys=False, allow_unicode=True, width=88)


def _listed(client: MlflowClient, run_id: str, folder: str) -> frozenset[str]:
    """Return the files in a folder of a run's artifacts; none where their storage is away."""
    from mlflow.exceptions import MlflowException

    try:
        return frozenset(file.path for file in client.list_artifacts(run_id, folder or None))
    except (MlflowException, OSError):
        return frozenset()


def _downloaded(client: MlflowClient, run_id: str, path: str) -> bytes | None:
    from mlflow.exceptions import MlflowException

    try:
        with TemporaryDirectory() as local:
            return Path(client.download_artifacts(run_id, path, local)).read_bytes()
    except (MlflowException, OSError):
        return None
