"""One run of an experiment from start to end: checks, Ray, tracking, resuming."""

from __future__ import annotations

import contextlib
import shutil
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import ClassVar, Literal

from mlfd_tune.config import Loaded
from mlfd_tune.core.store import Stage
from mlfd_tune.tracking import Tracker, check_uri
from mlfd_tune.tune.engine import Engine, trial_context
from mlfd_tune.tune.progress import Progress
from mlfd_tune.tune.ray_processes import clear_session, dead_one, watched
from mlfd_tune.tune.ray_session import ray_session
from mlfd_tune.tune.run_folder import RunFolder
from mlfd_tune.tune.run_log import RunLog
from mlfd_tune.tune.stopping import RunStopped, Stopping
from mlfd_tune.tune.timeline import PROFILE
from mlfd_tune.tune.trial import TrialContext

__all__ = ["Experiment"]

FLUSH_S = 60.0
_FLUSH_OF_STOPPED_S = 5.0
_LEFT_BY_THE_DEAD_S = 1.0


@dataclass(frozen=True)
class Experiment(ABC):
    """Something that `mlfd-tune run` runs: a sweep or an ablation.

    Attributes:
        loaded: The experiment file.
        context: What its trials share.
    """

    kind: ClassVar[Literal["sweep", "ablation"]]
    loaded: Loaded
    context: TrialContext

    @classmethod
    def of(cls, loaded: Loaded) -> Experiment:
        """Return the experiment in a loaded file."""
        return cls(loaded, trial_context(loaded))

    @abstractmethod
    def plan(self) -> list[Stage]:
        """Return the shared stages, inputs first.

        Raises:
            UserError: Settings do not fit together or a dataset cannot be read.
        """

    @abstractmethod
    def trial_counts(self) -> dict[str, dict[str, int]]:
        """Return how many trials each target has, by phase."""

    def sharing(self) -> list[str]:
        """Return lines on what its trials share, beside what the tree of stages shows."""
        return []

    @abstractmethod
    def execute(self, engine: Engine, stages: list[Stage], resumed: bool) -> None:
        """Do the work."""

    def run(
        self,
        progress: Progress,
        *,
        resume: bool = False,
        profile: bool = False,
        when_stuck: Callable[[RunStopped], object] | None = None,
    ) -> RunFolder:
        """Run the experiment, or go on with its latest unfinished run.

        Nothing is written before every check has passed.

        Args:
            progress: The terminal.
            resume: Go on with the latest unfinished run.
            profile: Profile an epoch of one trial into the run's folder.
            when_stuck: Ends the process where a run that is to stop hangs, see `Stopping`.

        Raises:
            UserError: Bad input, or another driver is at the run to resume.
            RunStopped: The run was stopped, by a signal or because Ray died, and can be resumed.
        """
        config = self.loaded.config
        check_uri(config.tracking.uri)
        stages = self.plan()
        todo = [stage for stage in stages if not self.context.store.has(stage)]
        needed = sum(stage.estimate_bytes() for stage in todo)
        self.context.store.require_space(needed, "the shared stages")
        if todo or not resume:  # a resumed run may need no more than what is there
            self.context.store.require_writable("the run's stages and students")
        threads = max(student.train.threads for student in config.students.values())
        stopping = Stopping(when_stuck)
        with contextlib.ExitStack() as stack:
            clear_after_the_dead(self.loaded)
            unfinished = RunFolder.unfinished(self.loaded) if resume else None
            if unfinished is not None:
                stack.callback(unfinished.release)
            ray = stack.enter_context(ray_session(config.resources, threads))
            # Made only now that nothing can be wrong with the input any more.
            folder = unfinished or RunFolder.create(self.loaded)
            stack.enter_context(self.context.store.pin())
            stack.callback(folder.release)
            folder.note_ray_session(ray.folder)
            stack.enter_context(stopping.listening())
            stack.enter_context(watched(ray.daemons, stopping.lose))
            tracker = stack.enter_context(
                Tracker(config.tracking.uri, self.loaded.name, folder.outbox)
            )
            log = RunLog(tracker, self.loaded, self.context)
            log.open_parent(self.kind, folder.id)
            context = self.context
            if profile:
                context = replace(context, profile=folder.path / PROFILE)
                shutil.rmtree(folder.path / PROFILE, ignore_errors=True)  # a resumed run has one
            engine = Engine(self.loaded, context, folder, ray.capacity, log, progress, stopping)
            try:
                with progress:
                    if self.context.caching.plan != "targets":
                        progress.say(str(self.context.caching))
                    self.execute(engine, stages, resumed=resume)
            except BaseException as error:
                lost = stopping.lost or (None if stopping.asked else dead_one(ray.daemons))
                if isinstance(error, KeyboardInterrupt) or lost is not None:
                    log.interrupt(lost)
                    tracker.close(_FLUSH_OF_STOPPED_S)
                    raise RunStopped(lost) from None
                log.close_parent(
                    "FAILED", str(error).splitlines()[0] if str(error) else repr(error)
                )
                raise
            log.close_parent("FINISHED")
            # First sent, then finished: a driver that dies here leaves a run that can be resumed.
            # If MLflow is away, what it lacks waits for `mlfd-tune tracking flush`.
            tracker.close(FLUSH_S)
            folder.finish()
        folder.note_ray_session(None)
        return folder


def clear_after_the_dead(loaded: Loaded) -> None:
    """End and remove what drivers of the experiment that were killed have left of Ray."""
    for folder in RunFolder.left_by_the_dead(loaded):
        session = folder.ray_session
        if session is not None:
            clear_session(session, _LEFT_BY_THE_DEAD_S)
            folder.note_ray_session(None)
        folder.release()
