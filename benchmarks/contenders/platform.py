"""This platform's contender: `mlfd-tune run`, and what it left behind."""

from __future__ import annotations

import sys
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import optuna

from benchmarks.contenders.history import History
from benchmarks.processes import Cost, cost_of
from mlfd_tune.core.store import Store, list_artifacts
from mlfd_tune.tune.space import optuna_point

__all__ = ["ENVIRONMENT", "Platform", "seconds_by_stage"]

ENVIRONMENT = {
    "OMP_NUM_THREADS": "1",
    "CUDA_VISIBLE_DEVICES": "",
    "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",
}
"""Of every contender: one thread a trial, no GPU, and none of the files that Ray logs by itself."""


class Platform:
    """A store, a tracking database and the sweeps that are run with them.

    Args:
        folder: Where they are; made by the first sweep.
        workers: Trials at a time.
    """

    def __init__(self, folder: Path, workers: int) -> None:
        self.folder = folder
        self.workers = workers

    @property
    def store(self) -> Path:
        """The folder of the artifact store."""
        return self.folder / "store"

    def run(
        self, label: str, experiment: Path, points: Sequence[Mapping[str, Any]], scheduler: str
    ) -> tuple[Cost, History]:
        """Run a sweep and return what it cost and what came out.

        Args:
            label: Names this run; every run of one folder has another.
            experiment: Its file.
            points: The trials that stand in the file.
            scheduler: ``asha`` or ``none``.

        Raises:
            RuntimeError: The sweep failed.
            ValueError: It tried other points than those given.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        before = _stage_counts(self.store)
        runs = self.folder / "runs" / label
        settings = {
            "store.path": self.store,
            "tracking.uri": f"sqlite:///{self.folder / 'mlflow.db'}",
            "runs": runs,
            "resources.workers": self.workers,
            "search.scheduler": scheduler,
        }
        command = [str(Path(sys.executable).with_name("mlfd-tune")), "run", str(experiment)]
        for key, value in settings.items():
            command += ["--set", f"{key}={value}"]
        cost = cost_of(command, self.folder / f"{label}.log", ENVIRONMENT)
        (studies,) = runs.glob("*/*/studies.db")
        return cost, History(_accuracy(studies, points), _stage_counts(self.store) - before)


def seconds_by_stage(store: Path) -> dict[str, list[float]]:
    """Return the seconds that each artifact of a store took, by the name of its stage."""
    seconds = defaultdict(list)
    for artifact in list_artifacts(Store(store)):
        seconds[artifact.manifest.stage].append(artifact.manifest.seconds)
    return dict(seconds)


def _stage_counts(store: Path) -> Counter[str]:
    return Counter({name: len(seconds) for name, seconds in seconds_by_stage(store).items()})


def _accuracy(
    studies: Path, points: Sequence[Mapping[str, Any]]
) -> dict[tuple[str, int, int], float]:
    url = f"sqlite:///{studies}"
    tried = [optuna_point(point) for point in points]
    accuracy = {}
    for name in optuna.get_all_study_names(url):
        trials = optuna.load_study(study_name=name, storage=url).get_trials()
        for trial in trials:
            number = tried.index(trial.params)
            for epoch, value in trial.intermediate_values.items():
                accuracy[name, number, epoch] = value
    return accuracy
