"""A sweep over synthetic learning curves: the real studies, searcher, scheduler and Ray Tuner.

Run as a script with a folder and a Ray address, it is a driver that a test can kill.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence
from io import StringIO
from pathlib import Path
from typing import Any

import ray
from learning_curve import EPOCHS, Curve
from ray import tune
from ray.tune import CheckpointConfig, FailureConfig, RunConfig, TuneConfig
from rich.console import Console

from mlfd_tune.config.search import SearchSettings
from mlfd_tune.core.store import Store
from mlfd_tune.tune.packing import Packing
from mlfd_tune.tune.plans import StudyPlan
from mlfd_tune.tune.progress import Progress
from mlfd_tune.tune.scheduler import StudyScheduler, WorkScheduler
from mlfd_tune.tune.searcher import Candidate, Phase, WorkSearcher
from mlfd_tune.tune.sources import StudySource
from mlfd_tune.tune.stage_queue import StageQueue
from mlfd_tune.tune.studies import Studies

DATASETS = ("digits", "letters")


def settings(**changes: Any) -> SearchSettings:
    space = {
        "distillation.alpha": {"float": [0.1, 2.0]},
        "joint_teacher.levels": {"choice": ["L1", "L2", ["embedding", "stride16"]]},
        "distillation.beta.stride32": {"float": [0.0, 1.0]},
    }
    return SearchSettings.model_validate({"trials": 8, "space": space, **changes})


def plans(names: tuple[str, ...] = DATASETS, seed: int = 0, **changes: Any) -> list[StudyPlan]:
    search = settings(**changes)
    return [StudyPlan(d, search.study_of(d), EPOCHS, ("embedding",), seed) for d in names]


def run_sweep(
    studies: Studies,
    folder: Path,
    constants: dict[str, Any] | None = None,
    slots: int = 2,
    retries: int = 0,
    **tune_config: Any,
) -> tune.ResultGrid:
    phase = Phase(StudySource(studies, slots), scheduler=StudyScheduler(studies))
    return run_phases([phase], folder, constants, slots, retries, **tune_config)


def run_phases(
    phases: Sequence[Phase],
    folder: Path,
    constants: dict[str, Any] | None = None,
    slots: int = 2,
    retries: int = 0,
    **tune_config: Any,
) -> tune.ResultGrid:
    queue = StageQueue(Store(folder / "store"), print, Progress(Console(file=StringIO())))
    packing = Packing(slots, 1, 1, per_gpu=1)
    work = WorkSearcher(iter(phases), queue, Candidate, slots, 0, folder, packing)
    tuner = tune.Tuner(
        tune.with_resources(
            tune.with_parameters(Curve, constants=constants or {}), {"cpu": 2 / slots}
        ),
        tune_config=TuneConfig(
            search_alg=work,
            scheduler=WorkScheduler(work, slots),
            num_samples=-1,
            max_concurrent_trials=slots,
            reuse_actors=True,
            trial_dirname_creator=lambda trial: trial.trial_id,
            **tune_config,
        ),
        run_config=RunConfig(
            storage_path=str(folder),
            name=f"ray-{time.time_ns()}",
            verbose=0,
            checkpoint_config=CheckpointConfig(checkpoint_at_end=False),
            failure_config=FailureConfig(max_failures=retries),
        ),
    )
    return tuner.fit()


if __name__ == "__main__":
    ray.init(address=sys.argv[2], log_to_driver=False, logging_level="ERROR")
    run_sweep(
        Studies(Path(sys.argv[1]) / "studies.db", plans()),
        Path(sys.argv[1]),
        {"seconds_per_epoch": 0.1},
    )
