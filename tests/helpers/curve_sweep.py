"""A sweep over synthetic learning curves: the real studies, searcher, scheduler and Ray Tuner.

Run as a script with a folder and a Ray address, it is a driver that a test can kill.
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
import ray
from ray import tune
from ray.tune import CheckpointConfig, FailureConfig, RunConfig, TuneConfig
from rich.console import Console

from mlfd_tune.config.search import SearchSettings
from mlfd_tune.core.store import Store
from mlfd_tune.tune.deaths import Deaths
from mlfd_tune.tune.failures import FAILURES, Failures
from mlfd_tune.tune.packing import Packing
from mlfd_tune.tune.plans import StudyPlan
from mlfd_tune.tune.progress import Progress
from mlfd_tune.tune.scheduler import StudyScheduler, WorkScheduler
from mlfd_tune.tune.searcher import Candidate, Phase, WorkSearcher
from mlfd_tune.tune.signs import Signs
from mlfd_tune.tune.sources import StudySource
from mlfd_tune.tune.stage_queue import StageQueue
from mlfd_tune.tune.studies import Studies
from mlfd_tune.tune.trial import TrialRequestConfig
from tests.helpers.learning_curve import EPOCHS, Curve

DATASETS = ("digits", "letters")
QUIET = {
    "RAY_AIR_NEW_OUTPUT": "0",
    "TUNE_PRINT_ALL_TRIAL_ERRORS": "0",
    "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",
}


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


@contextmanager
def ray_for_curves(**environment: str) -> Iterator[str]:
    """Start Ray with two CPUs, whose workers find the curves; yield its address.

    Args:
        environment: Variables that Ray's own processes read.
    """
    with pytest.MonkeyPatch.context() as patch:
        for name, value in {**QUIET, **environment}.items():
            patch.setenv(name, value)
        patch.setenv("PYTHONPATH", os.pathsep.join(sys.path))
        ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False, logging_level="ERROR")
        try:
            yield ray.get_runtime_context().gcs_address
        finally:
            ray.shutdown()


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


def candidate(request: TrialRequestConfig) -> Candidate:
    """Every point is a student of its own."""
    return Candidate(request, json.dumps(request.params, sort_keys=True))


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
    failures = Failures(folder / FAILURES, retries)
    deaths = Deaths(Signs(folder / "signs"))
    work = WorkSearcher(
        iter(phases), queue, candidate, slots, 0, folder / "stages", packing, failures, deaths
    )
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
            failure_config=FailureConfig(max_failures=1),
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
