"""The runs of one sweep or ablation as MLflow has them: its own, its trainings' and its stages'."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from mlfd_tune.report.runs import parent_run
from mlfd_tune.tracking import vocabulary
from mlfd_tune.tracking.results import finite
from mlfd_tune.tracking.session import tag_equals

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Run

__all__ = ["Parent", "StageRun", "TrainingRun", "find_parent", "stage_runs", "training_runs"]

_PAGE = 1000
_TRAININGS: Final = ("trial", "confirm", "arm")


@dataclass(frozen=True)
class Parent:
    """The run of a sweep or ablation itself. Times are Unix time in seconds.

    Attributes:
        experiment: Name of the MLflow experiment.
        experiment_id: MLflow's id of it.
        kind: ``sweep`` or ``ablation``.
        id: What the run's folder is called, such as ``20260102-030405``.
        run_id: MLflow's id of the run.
        status: MLflow's status.
        started: When it began.
        ended: When it ended; None while it goes on.
        tags: All its tags.
    """

    experiment: str
    experiment_id: str
    kind: str
    id: str
    run_id: str
    status: str
    started: float
    ended: float | None
    tags: Mapping[str, str]


@dataclass(frozen=True)
class TrainingRun:
    """A trial, a confirmation or an arm, however it ended. Times are Unix time in seconds.

    Attributes:
        run_id: MLflow's id.
        name: MLflow's name of it.
        kind: ``trial``, ``confirm`` or ``arm``.
        number: Of a trial: its number in its dataset's study, or else by start.
        dataset: Target dataset.
        method: How the student learned.
        status: MLflow's status: ``FINISHED``, ``KILLED`` (stopped early), ``FAILED``, ``RUNNING``.
        started: When it began.
        ended: When it ended; None while it goes on.
        val: Last validation accuracy in percent, or None.
        test: Test accuracy in percent, or None.
        params: Flat settings.
        tags: All its tags.
    """

    run_id: str
    name: str
    kind: str
    number: int
    dataset: str
    method: str
    status: str
    started: float
    ended: float | None
    val: float | None
    test: float | None
    params: Mapping[str, str]
    tags: Mapping[str, str]

    @property
    def stages(self) -> tuple[str, ...]:
        """MLflow's ids of the runs of all stages it is made of."""
        return _links(self.tags)


@dataclass(frozen=True)
class StageRun:
    """A stage that was computed once for the experiment. Times are Unix time in seconds.

    Attributes:
        run_id: MLflow's id.
        name: A few words for people.
        stage: The stage's name, such as ``joint_teacher``.
        dataset: The dataset it belongs to; empty if none.
        seconds: What it took to compute.
        bytes: What it takes in the store.
        ended: When it was finished.
        reads: MLflow's ids of the runs of the stages it was computed from.
    """

    run_id: str
    name: str
    stage: str
    dataset: str
    seconds: float
    bytes: int
    ended: float
    reads: tuple[str, ...]


def find_parent(client: MlflowClient, experiment: str, run: str | None) -> Parent:
    """Return an experiment's latest finished sweep or ablation.

    Args:
        client: Of the tracking server.
        experiment: Name of an experiment that there is.
        run: Id of the run in place of the latest; it need not be finished.

    Raises:
        UserError: It has no such run, or none is finished.
    """
    return _parent(parent_run(client, experiment, run), experiment)


def training_runs(client: MlflowClient, parent: Parent) -> list[TrainingRun]:
    """Return the trainings of a sweep or ablation by kind, in the order they were started."""
    found = []
    for kind in _TRAININGS:
        clause = f"{tag_equals(vocabulary.SWEEP, parent.id)} and "
        clause += tag_equals(vocabulary.KIND, kind)
        runs = sorted(
            _search(client, parent.experiment_id, clause),
            key=lambda run: (run.info.start_time, run.info.run_name or ""),
        )
        found += [_training(run, kind, place) for place, run in enumerate(runs)]
    return found


def stage_runs(client: MlflowClient, parent: Parent) -> dict[str, StageRun]:
    """Return the runs of all of the experiment's stages by id, whichever run they were for."""
    runs = _search(client, parent.experiment_id, tag_equals(vocabulary.KIND, "stage"))
    return {run.info.run_id: _stage(run) for run in runs}


def _search(client: MlflowClient, experiment_id: str, clause: str) -> Iterator[Run]:
    token = None
    while True:
        page = client.search_runs([experiment_id], clause, max_results=_PAGE, page_token=token)
        yield from page
        token = page.token
        if not token:
            return


def _parent(run: Run, experiment: str) -> Parent:
    return Parent(
        experiment=experiment,
        experiment_id=run.info.experiment_id,
        kind=run.data.tags[vocabulary.KIND],
        id=run.data.tags[vocabulary.SWEEP],
        run_id=run.info.run_id,
        status=run.info.status,
        started=run.info.start_time / 1000,
        ended=_seconds(run.info.end_time),
        tags=run.data.tags,
    )


def _training(run: Run, kind: str, place: int) -> TrainingRun:
    tags = run.data.tags
    # Such as a1b2c3/trial/digits/7; runs from elsewhere are numbered as they were started.
    last = tags.get(vocabulary.LOCAL_ID, "").rpartition("/")[2]
    return TrainingRun(
        run_id=run.info.run_id,
        name=run.info.run_name or run.info.run_id,
        kind=kind,
        number=int(last) if kind == "trial" and last.isdecimal() else place,
        dataset=tags.get(vocabulary.DATASET, ""),
        method=tags.get(vocabulary.METHOD, ""),
        status=run.info.status,
        started=run.info.start_time / 1000,
        ended=_seconds(run.info.end_time),
        val=finite(run.data.metrics.get("val/acc1")),
        test=finite(run.data.metrics.get("test/acc1")),
        params=run.data.params,
        tags=tags,
    )


def _stage(run: Run) -> StageRun:
    tags = run.data.tags
    return StageRun(
        run_id=run.info.run_id,
        name=run.info.run_name or run.info.run_id,
        stage=tags.get("mlfd.stage_name", ""),
        dataset=tags.get(vocabulary.DATASET, ""),
        seconds=float(tags.get("mlfd.seconds", 0)),
        bytes=int(tags.get("mlfd.bytes", 0)),
        ended=_seconds(run.info.end_time) or run.info.start_time / 1000,
        reads=_links(tags),
    )


def _links(tags: Mapping[str, str]) -> tuple[str, ...]:
    found = (value for name, value in tags.items() if name.startswith(vocabulary.STAGE_PREFIX))
    return tuple(dict.fromkeys(found))


def _seconds(milliseconds: int | None) -> float | None:
    return None if milliseconds is None else milliseconds / 1000
