"""What a sweep and an ablation have in common: one Tuner that does all of a run's work."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property, partial
from typing import Literal

from ray import tune
from ray.tune import CheckpointConfig

from mlfd_tune.config import Loaded
from mlfd_tune.core.pipeline import Catalogue
from mlfd_tune.core.store import Stage, Store
from mlfd_tune.tune.callback import ExperimentCallback
from mlfd_tune.tune.deaths import Deaths
from mlfd_tune.tune.disk_trouble import told_in_a_line
from mlfd_tune.tune.failures import FAILURES, Failures
from mlfd_tune.tune.fetching import lazy_fetcher
from mlfd_tune.tune.progress import Progress
from mlfd_tune.tune.quiet import quiet_tune
from mlfd_tune.tune.ray_session import Capacity
from mlfd_tune.tune.run_budget import budget_of
from mlfd_tune.tune.run_folder import RunFolder
from mlfd_tune.tune.run_log import RunLog
from mlfd_tune.tune.scheduler import WorkScheduler
from mlfd_tune.tune.searcher import Phase, WorkSearcher, candidate
from mlfd_tune.tune.signs import Signs
from mlfd_tune.tune.sources import PlannedSource
from mlfd_tune.tune.stage_queue import StageQueue
from mlfd_tune.tune.stopping import Stopping
from mlfd_tune.tune.storage import quiet_optuna
from mlfd_tune.tune.timeline import Timeline
from mlfd_tune.tune.trial import TrialContext, TrialRequestConfig
from mlfd_tune.tune.watchdog import Watchdog
from mlfd_tune.tune.worker import worker_with

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
    catalogue = Catalogue(lazy_fetcher(config.tracking.uri, store.root / "weights"))
    return TrialContext(loaded.kept, catalogue, store)


@dataclass(frozen=True)
class Engine:
    """Runs stages and trials of one run of an experiment."""

    loaded: Loaded
    context: TrialContext
    folder: RunFolder
    capacity: Capacity
    log: RunLog
    progress: Progress
    stopping: Stopping

    @cached_property
    def queue(self) -> StageQueue:
        """The shared stages of the run."""
        return StageQueue(self.context.store, self.log.stage, self.progress)

    def run(self, phases: Iterator[Phase], trials: int) -> None:
        """Do the work of all phases, by the same workers.

        Args:
            phases: Each is asked for when the one before is over.
            trials: How many trials there are to run, about.

        Raises:
            UserError: A stage met bad input, such as an image that cannot be read; or one failed
                that everything else needs.
            NoSpaceError: A disk is full.
            KeyboardInterrupt: The run was asked to finish, and there is work left.
        """
        slots, resources = self.capacity.slots, self.loaded.config.resources
        signs = self.folder.ray / "signs"
        work = WorkSearcher(
            phases,
            self.queue,
            partial(candidate, self.context),
            slots,
            min(slots, trials),
            self.folder.ray / "stages",
            self.capacity.packing,
            Failures(self.folder.path / FAILURES, resources.max_failures),
            Deaths(Signs(signs)),
        )
        budget = budget_of(self.loaded, self.folder.path, self.context.store.root)
        timeline = Timeline(self.folder.path, slots, time.time())
        tuner = tune.Tuner(
            tune.with_resources(
                worker_with(
                    context=replace(self.context, budget=budget),
                    signs=signs,
                    max_memory=resources.max_worker_memory,
                ),
                {"cpu": self.capacity.cpus, "gpu": self.capacity.gpus},
            ),
            tune_config=tune.TuneConfig(
                search_alg=work,
                scheduler=WorkScheduler(work, slots),
                num_samples=-1,  # until the searcher says that it has finished
                max_concurrent_trials=slots,
                reuse_actors=True,
                trial_dirname_creator=lambda trial: str(trial.trial_id),
            ),
            run_config=tune.RunConfig(
                name="work",
                storage_path=str(self.folder.ray),
                callbacks=[
                    ExperimentCallback(
                        work,
                        self.queue,
                        self.log,
                        self.progress,
                        timeline,
                        self.folder,
                        Watchdog(resources.trial_timeout),
                        self.stopping,
                    )
                ],
                verbose=0,
                # A finished student is in the store. And Ray would give its worker's place away
                # before it has saved it: to another worker, which would have to be started.
                checkpoint_config=CheckpointConfig(checkpoint_at_end=False),
                # Of what only starts a worker; for all else the scheduler says it.
                failure_config=tune.FailureConfig(max_failures=1),
            ),
        )
        try:
            with quiet_optuna(), quiet_tune(), told_in_a_line(self.folder.path):
                tuner.fit()
        finally:
            timeline.close()
        if work.is_cut_short:
            raise KeyboardInterrupt

    def planned(
        self, title: str, trials: Sequence[PlannedTrial], kind: Literal["confirm", "arm"]
    ) -> Iterator[Phase]:
        """Yield the phase that runs planned trials which are not over yet.

        Raises:
            UserError: A trial's settings do not fit together.
        """
        by_id = {trial.request.id: trial for trial in trials}
        ended = self.folder.ended_trials
        todo = [trial.request for trial in trials if trial.request.id not in ended]
        planned: dict[str, int] = {}
        for request in todo:
            planned[request.dataset] = planned.get(request.dataset, 0) + 1
        below: list[Stage] = []
        for request in todo:
            below += candidate(self.context, request).below
        self.queue.announce(below)
        self.progress.phase(title, planned)
        if not todo:
            return

        def start(request: TrialRequestConfig) -> None:
            trial = by_id[request.id]
            self.log.start_trial(
                request, kind, self.folder.id, arm=trial.arm, baseline_of=trial.baseline_of
            )

        yield Phase(PlannedSource(todo), start)
        self.progress.finish_phase()
