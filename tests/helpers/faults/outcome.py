"""What came out of a sweep, read from its studies and from MLflow."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import optuna
import yaml
from mlflow import MlflowClient
from mlflow.entities import Run
from optuna.storages import RDBStorage
from optuna.trial import FrozenTrial, TrialState

__all__ = ["Best", "Outcome", "Recorded", "outcome_of", "recorded"]

METHODS_CONFIRMED = 3  # the method, the baseline and the own-teacher control


@dataclass(frozen=True)
class Best:
    """The best trial of a dataset: its number, its parameters and its value."""

    number: int
    params: Mapping[str, Any]
    value: float


@dataclass(frozen=True)
class Outcome:
    """What a sweep found.

    Attributes:
        states: How every trial of the search ended, by id.
        best: By dataset.
        confirmed: Accuracies of the trainings that confirm, by id and name.
    """

    states: Mapping[str, str]
    best: Mapping[str, Best]
    confirmed: Mapping[str, Mapping[str, float]]


@dataclass(frozen=True)
class Recorded:
    """One run of a sweep, as its folder and MLflow have it.

    Attributes:
        folder: The folder of the run.
        uri: Where MLflow is.
    """

    folder: Path
    uri: str

    @cached_property
    def content(self) -> Mapping[str, Any]:
        """The experiment."""
        (file,) = self.folder.parents[2].glob(f"{self.folder.parent.name}.yaml")
        return dict(yaml.safe_load(file.read_text()))

    @cached_property
    def planned(self) -> frozenset[str]:
        """Ids of the trials of the search that are to be, by the experiment."""
        targets = self.content.get("targets") or self.content["datasets"]
        number = self.content["search"]["trials"]
        return frozenset(f"trial/{target}/{n}" for target in targets for n in range(number))

    @cached_property
    def confirmations(self) -> int:
        """How many trainings are to confirm, by the experiment."""
        targets = self.content.get("targets") or self.content["datasets"]
        confirm = self.content["confirm"]
        return len(targets) * confirm["top_k"] * confirm["seeds"] * METHODS_CONFIRMED

    @cached_property
    def trials(self) -> dict[str, FrozenTrial]:
        """The trials in Optuna's studies, by id."""
        storage = RDBStorage(f"sqlite:///{self.folder / 'studies.db'}")
        try:
            return {
                f"trial/{study.study_name}/{trial.number}": trial
                for study in storage.get_all_studies()
                for trial in storage.get_all_trials(study._study_id)
            }
        finally:
            storage.engine.dispose()

    @cached_property
    def ended(self) -> list[str]:
        """Ids of the trials that the driver has noted as over, in order."""
        return (self.folder / "ended.txt").read_text().splitlines()

    @cached_property
    def client(self) -> MlflowClient:
        """Reads from MLflow."""
        return MlflowClient(self.uri)

    @cached_property
    def runs(self) -> list[Run]:
        """All runs of the experiment in MLflow."""
        experiment = self.client.get_experiment_by_name(self.folder.parent.name)
        found: list[Run] = []
        token = None
        while True:
            page = self.client.search_runs(
                [experiment.experiment_id], max_results=1000, page_token=token
            )
            found += page
            token = page.token
            if not token:
                return found

    def own_runs(self, *kinds: str) -> Iterator[tuple[str, Run]]:
        """Yield this run's own runs in MLflow with their local ids, of some kinds."""
        for run in self.runs:
            tags = run.data.tags
            if tags.get("mlfd.kind") in kinds and tags.get("mlfd.sweep") == self.folder.name:
                yield tags["mlfd.local_id"].partition("/")[2], run

    def best(self, dataset: str) -> Best:
        """Return the best trial of a dataset that ran to the end."""
        complete = [
            trial
            for name, trial in self.trials.items()
            if name.split("/")[1] == dataset and trial.state == TrialState.COMPLETE
        ]
        found = max(complete, key=lambda trial: (trial.value, -trial.number))
        assert found.value is not None
        return Best(found.number, found.params, found.value)


def recorded(folder: Path, uri: str | None = None) -> Recorded:
    """Return the only run of the only experiment in a folder.

    Args:
        folder: Where the driver was started.
        uri: Where MLflow is; by default the database in the folder.
    """
    (run,) = (path.parent for path in folder.glob("runs/*/*/state.json"))
    return Recorded(run, uri or f"sqlite:///{folder / 'mlflow.db'}")


def outcome_of(folder: Path, uri: str | None = None) -> Outcome:
    """Return what the sweep in a folder found."""
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    run = recorded(folder, uri)
    datasets = {name.split("/")[1] for name in run.planned}
    return Outcome(
        {name: trial.state.name for name, trial in sorted(run.trials.items())},
        {dataset: run.best(dataset) for dataset in sorted(datasets)},
        {
            name: {key: found.data.metrics[key] for key in ("val/acc1", "test/acc1")}
            for name, found in sorted(run.own_runs("confirm"))
        },
    )
