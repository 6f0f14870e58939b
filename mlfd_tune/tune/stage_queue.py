"""The shared stages of a run: which are there, which are under way, and which is next."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

from mlfd_tune.core.store import Artifact, Stage, Store, walk
from mlfd_tune.tune.progress import Progress

__all__ = ["StageQueue"]


class StageQueue:
    """Keeps account of the shared stages, and tells the user and MLflow about them.

    Args:
        store: Where artifacts are kept.
        log: Called with every stage that is there and its artifact.
        progress: The terminal.
    """

    def __init__(
        self, store: Store, log: Callable[[Stage, Artifact], object], progress: Progress
    ) -> None:
        self.store = store
        self._log = log
        self._progress = progress
        self._there: set[str] = set()
        self._missing: dict[str, Stage] = {}
        self._under_way: dict[str, Stage] = {}
        self._broken: dict[str, str] = {}

    @property
    def under_way(self) -> tuple[Stage, ...]:
        """The stages that workers compute."""
        return tuple(self._under_way.values())

    def announce(self, stages: Iterable[Stage]) -> None:
        """Look stages and all they need up in the store, and tell what was found.

        Raises:
            UserError: What is missing would not fit into the store's budget.
        """
        todo, reused = self._look_up(stages)
        self.store.require_space(sum(stage.estimate_bytes() for stage in todo), "the shared stages")
        self._progress.stages_found(todo, len(reused), _seconds(reused))

    def add(self, stages: Iterable[Stage]) -> None:
        """Look up what a trial needs; most or all of it is known by then."""
        todo, reused = self._look_up(stages)
        self._progress.stages_added(len(todo), len(reused), _seconds(reused))

    def has_all(self, stages: Iterable[Stage]) -> bool:
        """Tell whether all these stages, looked up before, are there."""
        return all(stage.key in self._there for stage in stages)

    def broken_of(self, stages: Iterable[Stage]) -> tuple[Stage, str] | None:
        """Return the first of these stages that failed, and why; None where none did."""
        for stage in stages:
            if stage.key in self._broken:
                return stage, self._broken[stage.key]
        return None

    def next_of(self, stages: Iterable[Stage]) -> Stage | None:
        """Return the first of these stages that can be computed now and is not under way."""
        open_ones = self._missing.keys() - self._under_way.keys() - self._broken.keys()
        for stage in stages:
            if stage.key in open_ones and self.has_all(stage.reads.values()):
                return stage
        return None

    def started(self, stage: Stage) -> None:
        """Note that a worker computes the stage."""
        self._under_way[stage.key] = stage

    def done(self, stage: Stage) -> None:
        """Note that a worker has computed the stage."""
        del self._under_way[stage.key], self._missing[stage.key]
        self._there.add(stage.key)
        # The worker wrote it a moment ago: reading all of it again, to verify it, would hold
        # everything up.
        artifact = Artifact.open(self.store.artifact_path(stage))
        self._log(stage, artifact)
        self._progress.stage_done(stage, artifact)

    def failed(self, stage: Stage, reason: str) -> None:
        """Note that the stage is not computed any more, and why."""
        del self._under_way[stage.key]
        self._broken[stage.key] = reason

    def _look_up(self, stages: Iterable[Stage]) -> tuple[list[Stage], list[Artifact]]:
        todo: list[Stage] = []
        reused: list[Artifact] = []
        for stage in walk(stages):
            if stage.key in self._there or stage.key in self._missing:
                continue
            artifact = self.store.get(stage)
            if artifact is None:
                self._missing[stage.key] = stage
                todo.append(stage)
            else:
                self._there.add(stage.key)
                self._log(stage, artifact)
                reused.append(artifact)
        return todo, reused


def _seconds(artifacts: Sequence[Artifact]) -> float:
    return sum(artifact.manifest.seconds for artifact in artifacts)
