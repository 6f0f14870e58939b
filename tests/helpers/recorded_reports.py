"""A sweep and an ablation, recorded in MLflow as real ones are, for tests of the report."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

from tests.helpers.experiments import tiny_pipeline, tiny_sweep
from tests.helpers.recorder import Recorder

__all__ = ["ARMS", "NASTY", "record_ablation", "record_sweep"]

NASTY = "<script>alert('x')</script> & $a_$ \"q\""
"""The name of an arm: allowed, and to be shown as it stands."""

ARMS = ("labels alone", NASTY, "third")


def record_sweep(uri: str, experiment: str, folder: Path, sweep: str = "20260102-030405") -> None:
    """Record a search of four trials on each of two datasets, and a confirmation of two seeds."""
    recorder = Recorder(uri, experiment, folder, sweep)
    log_config(recorder, tiny_sweep())
    for dataset in ("digits", "photos"):
        data = recorder.stage("dataset", dataset, [{}])
        links = {"dataset." + dataset: data}
        for number in range(4):
            pruned = number in (1, 3)
            params = {
                "distillation.alpha": 0.2 + number,
                "distillation.beta.embedding": 0.1,
                "joint_teacher.adaptor": "linear",
            }
            values = [40.0 + number, 50.0 + number, 60.0 + number, 70.0 + number]
            recorder.train(
                "trial",
                dataset,
                "mlfd",
                3,
                values[:2] if pruned else values,
                config=f"config{number}",
                params=params,
                stages=links,
                status="KILLED" if pruned else "FINISHED",
            )
        for method, gain in (("mlfd", 4.0), ("none", 0.0), ("own_teacher", 1.0)):
            for seed in (4, 5):
                own = method == "mlfd"
                recorder.train(
                    "confirm",
                    dataset,
                    method,
                    seed,
                    [50.0, 71.0 + gain + seed / 10],
                    test=69.0 + gain + seed / 10 + (0.2 if own and seed == 5 else 0),
                    config="config2" if own else f"{method}-{dataset}",
                    of="" if own else "config2",
                    stages=links,
                )
    recorder.close()


def record_ablation(
    uri: str, experiment: str, folder: Path, seeds: int = 6, sweep: str = "20260102-040506"
) -> None:
    """Record three arms on two datasets: the second is better on every seed, the third is not."""
    recorder = Recorder(uri, experiment, folder, sweep, "ablation")
    arms = {name: {"distillation.alpha": place} for place, name in enumerate(ARMS, start=1)}
    design = {"kind": "compare", "arms": arms}
    content = {"kind": "ablation", **tiny_pipeline(), "design": design, "seeds": seeds}
    log_config(recorder, content | {"metric": "test/acc1"})
    for dataset in ("digits", "photos"):
        for place, arm in enumerate(ARMS):
            for seed in range(3, 3 + seeds):
                noise = (seed * 7 + place * 3) % 5 / 10
                value = 70.0 + (5.0 if place == 1 else 0.0) + noise
                recorder.train(
                    "arm",
                    dataset,
                    "mlfd",
                    seed,
                    [40.0, 50.0, 60.0, value + 1],
                    test=value,
                    config=f"config{place}",
                    arm=arm,
                    params={"student.train.epochs": 4, "student.train.batch_size": 64},
                )
    recorder.close()


def log_config(recorder: Recorder, content: dict[str, Any]) -> None:
    """Log the configuration as a run does."""
    recorder.tracker.log_text("parent", yaml.safe_dump(content, sort_keys=False), "experiment.yaml")
