"""The usual way: Ray Tune, with a trainable that computes all that its trial needs.

`naive` is given nothing: every trial packs the images, trains the teachers, extracts features,
trains a joint teacher, computes targets and trains its student. `careful` is given a store in
which the teachers, and perhaps their features, were made beforehand; each trial does the rest.

It is spared what the platform does beside that: checkpoints, tracking, published students, Ray's
own loggers. Actors are reused, so that torch is imported once per worker. What is computed is the
library's, with the same seeds, so that results can be compared bit by bit.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import tempfile
from collections import Counter
from pathlib import Path
from typing import Any

import ray
import torch
from ray import tune
from ray.tune.schedulers import ASHAScheduler

from mlfd_tune.config import SweepConfig, load_experiment, settings_for
from mlfd_tune.core.pipeline import Catalogue, Pipeline
from mlfd_tune.core.stages import StudentStage
from mlfd_tune.core.store import Store, walk
from mlfd_tune.core.training import Trainer


class ByHand(tune.Trainable):  # type: ignore[misc]
    """One trial: its whole pipeline, then its student epoch by epoch."""

    def setup(self, config: dict[str, Any], experiment: Path, given: Path | None) -> None:
        """Prepare the first trial of this process."""
        self._raw = load_experiment(experiment).raw
        self._catalogue = Catalogue()
        self._given = given
        self._begin(config["trial"])

    def reset_config(self, new_config: dict[str, Any]) -> bool:
        """Prepare the next trial in the same process."""
        self._folder.cleanup()
        self._begin(new_config["trial"])
        return True

    def step(self) -> dict[str, Any]:
        """Train one epoch."""
        metrics = self._trainer.train_epoch()
        stages = self._computed if self._trainer.epoch == 1 else {}
        return {"val/acc1": metrics["val/acc1"], "stages": stages, "done": self._trainer.done}

    def cleanup(self) -> None:
        """Remove what the last trial computed."""
        self._folder.cleanup()

    def _begin(self, trial: dict[str, Any]) -> None:
        self._folder = tempfile.TemporaryDirectory()
        store = Store(Path(self._folder.name) / "store")
        if self._given:
            shutil.copytree(self._given, store.root, copy_function=os.link)
        settings = settings_for(self._raw, trial["dataset"], trial["params"])
        student = Pipeline(settings, self._catalogue).student(trial["dataset"])
        assert isinstance(student, StudentStage)
        below = list(walk(student.inputs.values()))
        self._computed: Counter[str] = Counter(
            stage.stage_name for stage in below if not store.has(stage)
        )
        inputs = {name: store.get_or_compute(stage) for name, stage in student.inputs.items()}
        self._trainer: Trainer = student.trainer(inputs, torch.device("cpu"))


class Record(tune.Callback):  # type: ignore[misc]
    """Writes one line per epoch of every trial."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def on_trial_result(
        self, iteration: int, trials: list[Any], trial: Any, result: dict[str, Any], **info: Any
    ) -> None:
        """Append the epoch."""
        row = {
            "dataset": trial.config["trial"]["dataset"],
            "point": trial.config["trial"]["point"],
            "epoch": result["training_iteration"],
            "val/acc1": result["val/acc1"],
            "stages": result["stages"],
        }
        with self.path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(row) + "\n")


def main() -> None:
    """Search every target dataset, one after the other."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("experiment", type=Path)
    parser.add_argument("out", type=Path, help="one JSON object per epoch is written here")
    parser.add_argument("--scheduler", choices=("asha", "none"), required=True)
    parser.add_argument("--workers", type=int, required=True)
    parser.add_argument("--given", type=Path, help="a store made beforehand")
    chosen = parser.parse_args()
    config = load_experiment(chosen.experiment).config
    assert isinstance(config, SweepConfig)
    ray.init(include_dashboard=False, log_to_driver=False, logging_level="ERROR")
    trainable = tune.with_parameters(ByHand, experiment=chosen.experiment, given=chosen.given)
    for dataset in config.target_names:
        trials = [
            {"dataset": dataset, "point": number, "params": point}
            for number, point in enumerate(config.search.points_of(dataset))
        ]
        with tempfile.TemporaryDirectory() as storage:
            results = tune.Tuner(
                tune.with_resources(trainable, {"cpu": 1}),
                param_space={"trial": tune.grid_search(trials)},
                tune_config=tune.TuneConfig(
                    metric="val/acc1",
                    mode="max",
                    scheduler=_scheduler(config, dataset) if chosen.scheduler == "asha" else None,
                    max_concurrent_trials=chosen.workers,
                    reuse_actors=True,
                ),
                run_config=tune.RunConfig(
                    storage_path=storage,
                    callbacks=[Record(chosen.out)],
                    checkpoint_config=tune.CheckpointConfig(checkpoint_at_end=False),
                    verbose=0,
                ),
            ).fit()
        if results.num_errors:
            raise RuntimeError(
                f"{dataset}: {results.num_errors} trials failed: {results.errors[0]}"
            )


def _scheduler(config: SweepConfig, dataset: str) -> ASHAScheduler:
    search = config.search
    return ASHAScheduler(
        max_t=config.students[dataset].train.epochs,
        grace_period=search.grace_epochs,
        reduction_factor=search.reduction_factor,
    )


if __name__ == "__main__":
    main()
