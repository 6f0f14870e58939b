"""What is read of runs, wherever they are stored: one interface, answered by MLflow or by SQL."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Protocol

from mlfd_tune.tracking import vocabulary

__all__ = [
    "DATA_PREFIX",
    "TAGS",
    "TEST",
    "VAL",
    "Parent",
    "StoredRun",
    "StoredRuns",
    "sweep_of",
]

VAL: Final = "val/acc1"
TEST: Final = "test/acc1"

TAGS: Final = (
    vocabulary.SWEEP,
    "mlflow.parentRunId",
    vocabulary.DATASET,
    vocabulary.METHOD,
    vocabulary.CONFIG,
    vocabulary.BASELINE_OF,
    vocabulary.ARM,
    vocabulary.SEED,
    vocabulary.REASON,
)
"""The tags of a run that are read, beside its kind."""

DATA_PREFIX: Final = vocabulary.stage_tag("dataset.")
"""With a dataset's name after it, the tag that links a run to the stage that packed its images."""


@dataclass(frozen=True)
class StoredRun:
    """One run as it is stored.

    Attributes:
        experiment_id: MLflow's id of the experiment.
        run_id: MLflow's id of the run.
        kind: One of `vocabulary.KINDS`.
        started: Start in milliseconds since 1970.
        tags: Those of `TAGS` that it has.
        val: Last `VAL`, which may be NaN, or None.
        test: Last `TEST`, likewise.
        params: All its params.
        val_step: The epoch of `val`, or None.
        test_step: The epoch of `test`, or None.
        data: MLflow's id of the stage run that packed its dataset's images, or None.
    """

    experiment_id: str
    run_id: str
    kind: str
    started: int
    tags: Mapping[str, str]
    val: float | None
    test: float | None
    params: Mapping[str, str]
    val_step: int | None
    test_step: int | None
    data: str | None


@dataclass(frozen=True)
class Parent:
    """A sweep or an ablation.

    Attributes:
        sweep: Its id.
        started: Start in milliseconds since 1970.
    """

    sweep: str
    started: int


class StoredRuns(Protocol):
    """A tracking database, open for reading. What was deleted there is not seen."""

    def experiments(self) -> dict[str, str]:
        """Return the names of all experiments by id, the latest first."""

    def newest_parent(self, experiment_id: str, kind: str) -> Parent | None:
        """Return the run of a kind that an experiment started last, or None."""

    def datasets(self, experiment_ids: Collection[str], kinds: Sequence[str]) -> set[str]:
        """Return the datasets of all runs of some kinds; empty for a run without one."""

    def runs(
        self,
        experiment_ids: Collection[str],
        kinds: Sequence[str],
        status: str,
        dataset: str | None,
        sweeps: Mapping[str, str],
    ) -> list[StoredRun]:
        """Return runs, in the order of the kinds, then the latest first.

        Args:
            experiment_ids: The experiments they belong to.
            kinds: The kinds they may be of.
            status: MLflow's status.
            dataset: Their dataset, or None for any.
            sweeps: By experiment id, the only parent whose runs are wanted; any, if not there.
        """


def sweep_of(tags: Mapping[str, str]) -> str:
    """Return the id of the parent of the run with these tags, empty if it has none."""
    return tags.get(vocabulary.SWEEP) or tags.get("mlflow.parentRunId", "")
