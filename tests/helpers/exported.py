"""An experiment as a sweep leaves it: real students in a store, their runs in MLflow."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from mlfd_tune.core.store import Store
from mlfd_tune.tracking import Tracker, environment_tags
from mlfd_tune.tracking import vocabulary as words
from mlfd_tune.tune.run_log import resolved, to_yaml
from tests.helpers.pipelines import pipeline

TARGET = "one"
SEEDS = (4, 5)


def record_experiment(
    folder: Path,
    uri: str,
    experiment: str = "exp",
    *,
    kind: str = "confirm",
    seeds: tuple[int, ...] = SEEDS,
    test: bool = True,
    methods: tuple[str, ...] = ("own_teacher", "none", "kd"),
    **changes: Any,
) -> Store:
    """Train every method with every seed into ``folder/store`` and log it all to MLflow.

    Args:
        folder: Where the store and the outbox are made.
        uri: A tracking database that is there.
        experiment: Its name.
        kind: ``confirm``, ``trial`` or ``arm``.
        seeds: Seeds of every method.
        test: Read the test split, too.
        methods: What is trained.
        changes: Of the settings.
    """
    store, plan = Store(folder / "store"), pipeline(**changes)
    tracker = Tracker(uri, experiment, folder / "outbox", linger_s=0.01)
    tracker.start_run("S", "S", tags={words.KIND: "sweep", words.SWEEP: "S"})
    for method in methods:
        comparison = method in {"none", "own_teacher"}
        for seed in seeds:
            stage = plan.student(TARGET, method, seed)
            metrics = dict(store.get_or_compute(stage).manifest.metrics)
            if test:
                evaluation = plan.evaluation(TARGET, method, seed)
                metrics |= store.get_or_compute(evaluation).manifest.metrics
            name = f"{method} {seed}"
            tags = environment_tags() | {
                words.KIND: kind,
                words.SWEEP: "S",
                words.DATASET: TARGET,
                words.METHOD: method,
                words.SEED: str(seed),
                words.CONFIG: "base" if comparison else "aaaa",
                words.ARTIFACT_KEY: stage.key,
            }
            tags |= {words.BASELINE_OF: "aaaa"} if comparison else {}
            params = {
                "student.arch": stage.spec.arch,
                "student.train.epochs": stage.spec.train.epochs,
                "distillation.temperature": plan.settings.distillation.temperature,
            }
            tracker.start_run(name, name, parent="S", tags=tags, params=params)
            tracker.log_metrics(name, metrics, step=1)
            content = resolved(plan.settings, TARGET, method, seed)
            tracker.log_text(name, to_yaml(content), "config.yaml")
            tracker.end_run(name, "FINISHED")
    tracker.end_run("S", "FINISHED")
    assert tracker.close(60)
    return store
