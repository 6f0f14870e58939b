"""Ray Tune searchers: where a Tuner's trials come from."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping, Sequence
from typing import Any

from ray.tune.search import Searcher

from mlfd_tune.tune.studies import Studies

__all__ = ["PlannedSearcher", "StudySearcher"]


class _StatelessSearcher(Searcher):  # type: ignore[misc]
    """A searcher that Ray need not save: a new driver makes a new one."""

    def save(self, checkpoint_path: str) -> None:
        """Save nothing."""

    def restore(self, checkpoint_path: str) -> None:
        """Restore nothing."""


class StudySearcher(_StatelessSearcher):
    """Hands out what the studies ask for, and tells them how it ended.

    To be used with `mlfd_tune.tune.scheduler.StudyScheduler` over the same studies, which reports
    the results. Give the Tuner no metric, so that a result without one fails its trial alone.

    Args:
        studies: The record of the sweep.
        constants: Put into every trial's config, next to `dataset`, `number` and `params`.
    """

    def __init__(self, studies: Studies, constants: Mapping[str, Any] | None = None) -> None:
        super().__init__()
        self.studies = studies
        self.constants = dict(constants or {})

    def suggest(self, trial_id: str) -> dict[str, Any] | str:
        """Return the next trial's config, or `Searcher.FINISHED` when all have been asked."""
        request = self.studies.ask(trial_id)
        if request is None:
            return str(Searcher.FINISHED)
        return {
            **self.constants,
            "dataset": request.dataset,
            "number": request.number,
            "params": request.params,
        }

    def on_trial_complete(
        self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False
    ) -> None:
        """Tell the study how the trial ended.

        A trial that neither failed, nor reached its last epoch, nor was stopped by the scheduler
        was interrupted (a time budget, Ctrl-C): it stays open for a later driver.
        """
        if error:
            self.studies.tell(trial_id, "failed")
        else:
            self.studies.settle(trial_id)


class PlannedSearcher(_StatelessSearcher):
    """Hands out a fixed list of trial configs in order.

    Args:
        configs: One per trial.
    """

    def __init__(self, configs: Sequence[Mapping[str, Any]]) -> None:
        super().__init__()
        self._left = deque(dict(config) for config in configs)

    def suggest(self, trial_id: str) -> dict[str, Any] | str:
        """Return the next config, or `Searcher.FINISHED` after the last."""
        return self._left.popleft() if self._left else str(Searcher.FINISHED)

    def on_trial_complete(
        self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False
    ) -> None:
        """Nothing depends on how a planned trial ends."""
