"""What a sweep's search, its confirmation and an ablation have in common: one Tuner run."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

from ray import tune
from ray.tune.schedulers import FIFOScheduler, TrialScheduler
from ray.tune.search import Searcher

from mlfd_tune.config import Loaded
from mlfd_tune.core.pipeline import Catalogue
from mlfd_tune.core.store import Stage, Store
from mlfd_tune.tracking.weights import mlflow_fetcher
from mlfd_tune.tune.callback import ExperimentCallback
from mlfd_tune.tune.progress import Progress
from mlfd_tune.tune.ray_session import Capacity
from mlfd_tune.tune.run_folder import RunFolder
from mlfd_tune.tune.run_log import RunLog
from mlfd_tune.tune.searcher import PlannedSearcher
from mlfd_tune.tune.shared_stages import compute_stages
from mlfd_tune.tune.trial import StudentTrial, TrialContext, TrialRequestConfig, student_of

__all__ = ["Engine", "PlannedTrial", "trial_context"]


@dataclass(frozen=True)
class PlannedTrial:
    """A trial that is known beforehand.

    Attributes:
        request: What it trains.
        arm: Name of the arm it belongs to, in an ablation.
        baseline_of: The configuration it is the baseline or control of, in a confirmation.
    """

    request: TrialRequestConfig
    arm: str | None = None
    baseline_of: str | None = None


def trial_context(loaded: Loaded) -> TrialContext:
    """Return what the trials of an experiment share."""
    config = loaded.config
    store = Store(config.store.path, config.store.max_bytes)
    catalogue = Catalogue(mlflow_fetcher(config.tracking.uri, store.root / "weights"))
    return TrialContext(loaded.raw, catalogue, store)


@dataclass(frozen=True)
class Engine:
    """Runs stages and trials of one run of an experiment."""

    loaded: Loaded
    context: TrialContext
    folder: RunFolder
    capacity: Capacity
    log: RunLog
    progress: Progress

    def compute(self, stages: Sequence[Stage]) -> None:
        """Compute shared stages and log their runs."""
        report = compute_stages(stages, self.context.store, self.capacity, self.progress)
        for stage, artifact in [*report.reused, *report.computed]:
            self.log.stage(stage, artifact)

    def search(
        self, searcher: Searcher, scheduler: TrialScheduler, start: Callable[[Any], None]
    ) -> None:
        """Run the trials that a searcher hands out."""
        callback = self._callback(start)
        self._tune("search", searcher, scheduler, callback)

    def run(
        self, title: str, trials: Sequence[PlannedTrial], kind: Literal["confirm", "arm"]
    ) -> None:
        """Run planned trials that are not over yet, their shared stages first.

        Raises:
            UserError: A trial's settings do not fit together.
        """
        by_id = {trial.request.id: trial for trial in trials}
        ended = self.folder.ended_trials
        todo = [trial.request for trial in trials if trial.request.id not in ended]
        students = [student_of(self.context, request) for request in todo]
        self.compute([stage for student in students for stage in student.inputs.values()])
        planned: dict[str, int] = {}
        for request in todo:
            planned[request.dataset] = planned.get(request.dataset, 0) + 1
        self.progress.phase(title, planned)
        if not todo:
            return

        def start(request: TrialRequestConfig) -> None:
            trial = by_id[request.id]
            self.log.start_trial(
                request, kind, self.folder.id, arm=trial.arm, baseline_of=trial.baseline_of
            )

        callback = self._callback(start)
        searcher = PlannedSearcher([asdict(request) for request in todo])
        self._tune(kind, searcher, FIFOScheduler(), callback)
        self.progress.finish_phase()

    def _callback(self, start: Callable[[TrialRequestConfig], None]) -> ExperimentCallback:
        return ExperimentCallback(
            self.log,
            self.progress,
            start,
            ended=lambda request: self.folder.trial_ended(request.id),
        )

    def _tune(
        self, name: str, searcher: Searcher, scheduler: TrialScheduler, callback: ExperimentCallback
    ) -> None:
        trainable = tune.with_resources(
            tune.with_parameters(StudentTrial, context=self.context),
            {"cpu": self.capacity.cpus, "gpu": self.capacity.gpus},
        )
        tuner = tune.Tuner(
            trainable,
            tune_config=tune.TuneConfig(
                search_alg=searcher,
                scheduler=scheduler,
                num_samples=-1,  # until the searcher says that it has finished
                max_concurrent_trials=self.capacity.slots,
                reuse_actors=True,
                trial_dirname_creator=lambda trial: str(trial.trial_id),
            ),
            run_config=tune.RunConfig(
                name=name,
                storage_path=str(self.folder.ray),
                callbacks=[callback],
                verbose=0,
                # A worker that was killed is tried again; its student goes on from the store.
                failure_config=tune.FailureConfig(max_failures=1),
            ),
        )
        tuner.fit()
