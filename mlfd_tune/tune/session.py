"""One run of an experiment from start to end: checks, Ray, tracking, resuming."""

from __future__ import annotations

import contextlib
import shutil
import signal
import threading
from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import ClassVar, Literal

from mlfd_tune.config import Loaded
from mlfd_tune.core.store import Stage
from mlfd_tune.tracking import Tracker, check_uri
from mlfd_tune.tune.engine import Engine, trial_context
from mlfd_tune.tune.progress import Progress
from mlfd_tune.tune.ray_session import ray_session
from mlfd_tune.tune.run_folder import RunFolder
from mlfd_tune.tune.run_log import RunLog
from mlfd_tune.tune.timeline import PROFILE
from mlfd_tune.tune.trial import TrialContext

__all__ = ["Experiment"]

FLUSH_S = 120.0


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

    def run(self, progress: Progress, *, resume: bool = False, profile: bool = False) -> RunFolder:
        """Run the experiment, or go on with its latest unfinished run.

        Nothing is written before every check has passed.

        Args:
            progress: The terminal.
            resume: Go on with the latest unfinished run.
            profile: Profile an epoch of one trial into the run's folder.

        Raises:
            UserError: Bad input.
        """
        config = self.loaded.config
        check_uri(config.tracking.uri)
        stages = self.plan()
        todo = [stage for stage in stages if not self.context.store.has(stage)]
        needed = sum(stage.estimate_bytes() for stage in todo)
        self.context.store.require_space(needed, "the shared stages")
        threads = max(student.train.threads for student in config.students.values())
        unfinished = RunFolder.unfinished(self.loaded) if resume else None
        with contextlib.ExitStack() as stack:
            capacity = stack.enter_context(ray_session(config.resources, threads))
            stack.enter_context(_terminated_as_interrupted())
            # Made only now that nothing can be wrong with the input any more.
            folder = unfinished or RunFolder.create(self.loaded)
            tracker = stack.enter_context(
                Tracker(config.tracking.uri, self.loaded.name, folder.outbox)
            )
            log = RunLog(tracker, self.loaded, self.context)
            log.open_parent(self.kind, folder.id)
            context = self.context
            if profile:
                context = replace(context, profile=folder.path / PROFILE)
                shutil.rmtree(folder.path / PROFILE, ignore_errors=True)  # a resumed run has one
            engine = Engine(self.loaded, context, folder, capacity, log, progress)
            try:
                with progress:
                    if self.context.caching.plan != "targets":
                        progress.say(str(self.context.caching))
                    self.execute(engine, stages, resumed=resume)
            except KeyboardInterrupt:
                log.interrupt()
                raise
            except BaseException as error:
                log.close_parent(
                    "FAILED", str(error).splitlines()[0] if str(error) else repr(error)
                )
                raise
            log.close_parent("FINISHED")
            if tracker.flush(FLUSH_S):
                folder.finish()
            else:  # unfinished, so that resuming sends them
                waiting = tracker.pending()
                progress.say(f"{waiting} records wait for the tracking server; send with --resume")
        return folder


@contextlib.contextmanager
def _terminated_as_interrupted() -> Iterator[None]:
    """Make SIGTERM, which clusters send before they kill, end a run as Ctrl-C does.

    Entered after Ray has started, which sets a handler of its own.
    """
    if threading.current_thread() is not threading.main_thread():
        yield  # signals are the main thread's alone
        return

    def interrupt(number: int, frame: object) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGTERM, interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
