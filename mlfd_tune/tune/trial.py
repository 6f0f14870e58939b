"""The Ray trainable: one student, one epoch a step."""

from __future__ import annotations

import gc
import json
import math
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from ray.tune import Trainable

from mlfd_tune.config import settings_for
from mlfd_tune.core.caching import Caching
from mlfd_tune.core.errors import NonFiniteLossError
from mlfd_tune.core.pipeline import Catalogue, Pipeline, check_settings
from mlfd_tune.core.stages import EvaluationStage, StudentStage, TrialStage
from mlfd_tune.core.store import Claim, Store, walk
from mlfd_tune.core.training import Trainer
from mlfd_tune.core.training.profiling import EpochProfiler
from mlfd_tune.tune.disk_budget import AnyRoom, NoCap
from mlfd_tune.tune.doomed import remove
from mlfd_tune.tune.quiet import quiet_process
from mlfd_tune.tune.timeline import CLOCK
from mlfd_tune.tune.work_clock import WorkClock

__all__ = [
    "UNSAVED",
    "StudentTrial",
    "TrialContext",
    "TrialRequestConfig",
    "student_of",
    "trial_id",
]

UNSAVED = "unsaved"
"""In a result: why no checkpoint could be written."""

_POSITION = "position.json"
_METRIC = "val/acc1"


@dataclass(frozen=True)
class TrialContext:
    """What every trial of an experiment shares.

    Attributes:
        raw: The experiment as read from YAML.
        catalogue: The dataset stages, already fingerprinted.
        store: The artifact store.
        caching: What of features and targets it holds.
        profile: Folder for a profile of one of them, see `EpochProfiler`; None for no profile.
        budget: How much disk their students may take.
    """

    raw: Mapping[str, Any]
    catalogue: Catalogue
    store: Store
    caching: Caching = field(default_factory=Caching)
    profile: Path | None = None
    budget: NoCap = field(default_factory=NoCap)


@dataclass(frozen=True)
class TrialRequestConfig:
    """What one trial is asked to train, as it stands in Ray's config.

    Attributes:
        id: Name of the trial within its experiment; the same after a resume.
        dataset: The student's dataset.
        params: Values by dotted key, over the experiment's own.
        method: In place of the configuration's method.
        seed: In place of the configuration's student seed.
        test: Whether to read the test split at the end.
    """

    id: str
    dataset: str
    params: Mapping[str, Any]
    method: str | None = None
    seed: int | None = None
    test: bool = False

    @classmethod
    def read(cls, config: Mapping[str, Any]) -> TrialRequestConfig:
        """Read a Ray trial's config; a searched trial has a number in place of an id."""
        dataset = config["dataset"]
        return cls(
            id=config.get("id") or trial_id(dataset, config["number"]),
            dataset=dataset,
            params=config["params"],
            method=config.get("method"),
            seed=config.get("seed"),
            test=config.get("test", False),
        )


def trial_id(dataset: str, number: int) -> str:
    """Return the id of a searched trial: its study and its number there."""
    return f"trial/{dataset}/{number}"


def student_of(context: TrialContext, request: TrialRequestConfig) -> TrialStage:
    """Return the stage that trains what a trial asks for.

    Raises:
        UserError: The trial's parameters do not fit together.
    """
    settings = settings_for(context.raw, request.dataset, request.params)
    if request.method is not None:
        settings = settings.model_copy(update={"method": request.method})
    check_settings(settings)
    pipeline = Pipeline(settings, context.catalogue, context.caching)
    return pipeline.student(request.dataset, seed=request.seed)


class StudentTrial(Trainable):  # type: ignore[misc]
    """Trains one student as a store stage.

    The first step resolves the shared stages and claims the student's own: epochs that anybody
    has trained before, in this sweep or another, are reported from the record instead of trained
    again, and a published student is only replayed. The student's checkpoint lives in the store's
    work folder, so a trial that is stopped, paused, killed or started anew goes on from there.

    All that can go wrong goes wrong in a step. Ray knows by then that the trial runs, and can try
    it again; what fails while a worker is handed over to a trial fails the trial for good.

    A result has every metric of the epoch, and `epoch`, `epochs`, `reused_epochs`,
    `seconds_reused`, `seconds_trained` and its worker's stamp under `CLOCK`; the last one has the
    test metrics if asked for.
    """

    _trainer: Trainer | None = None
    _room: AnyRoom
    _history: list[dict[str, float]]
    _position = 0
    _seconds_trained = 0.0
    _has_begun = False

    def setup(self, config: dict[str, Any], context: TrialContext) -> None:
        """Prepare the first trial of this actor."""
        quiet_process()
        # What the imports left stays for good. Searching it for garbage after every trial would
        # take a third of a second.
        gc.freeze()
        self._context = context
        self._device = "cuda" if torch.cuda.is_available() else "cpu"
        self._take(config)

    def reset_config(self, new_config: dict[str, Any]) -> bool:
        """Prepare the next trial in the same process: torch is imported once."""
        self._end()
        self._take(new_config)
        return True

    def step(self) -> dict[str, Any]:
        """Report the next epoch, training it if nobody has.

        Raises:
            NonFiniteLossError: A loss term or metric is NaN or infinite.
            UserError: The trial's parameters do not fit together.
        """
        if not self._has_begun:
            self._begin()
        while len(self._history) < self._position:  # epochs that were reported, and lost
            self._train_epoch()
        number = self._position + 1
        if number > len(self._history):
            begin = time.perf_counter()
            self._train_epoch()
            self._seconds_trained += time.perf_counter() - begin
        else:
            self._reused += 1
        result: dict[str, Any] = dict(self._history[number - 1])
        if _METRIC not in result:
            raise RuntimeError(f"epoch {number} has no {_METRIC}")
        if self._trainer is not None and self._trainer.unsaved is not None:
            result[UNSAVED] = self._trainer.unsaved
        last = number >= self._stage.epochs
        if last:
            self._publish()
            if self._request.test:
                result |= self._evaluate()
        self._position = number
        return result | {
            "epoch": self._position,
            "epochs": self._stage.epochs,
            "reused_epochs": self._reused,
            "seconds_reused": self._seconds_reused,
            "seconds_trained": self._seconds_trained,
            CLOCK: self._clock.stamp(),
            "done": last,
        }

    def give_up(self) -> None:
        """Drop a step that failed: another attempt goes on from the store."""
        self._drop()
        self._end()

    def save_checkpoint(self, checkpoint_dir: str) -> None:
        """Keep the student in the store, and in Ray's checkpoint which epoch was reported last."""
        if self._trainer is not None:
            self._trainer.save(self._claim.work)
        (Path(checkpoint_dir) / _POSITION).write_text(json.dumps(self._position))

    def load_checkpoint(self, checkpoint: str) -> None:
        """Go on after the epoch that was reported last."""
        self._position = json.loads((Path(checkpoint) / _POSITION).read_text())

    def cleanup(self) -> None:
        """Leave the student's checkpoint to whoever needs it next."""
        self._end()

    def _take(self, config: Mapping[str, Any]) -> None:
        """Take a trial on; its first step begins it."""
        self._asked = config
        self._has_begun = False
        self._trainer = None
        self._history = []
        self._position = self._reused = 0
        self._seconds_trained = 0.0

    def _begin(self) -> None:
        self._request = TrialRequestConfig.read(self._asked)
        self._clock = WorkClock(self._show_life)
        self._stage = student_of(self._context, self._request)
        profile = self._context.profile
        self._profiler = None if profile is None else EpochProfiler(profile, self._stage.label)
        store = self._context.store
        below = list(walk(self._stage.inputs.values()))
        self._seconds_reused = 0.0
        for stage in below:
            there = store.has(stage)
            artifact = self._clock.get(store, stage, self._device)
            self._seconds_reused += artifact.manifest.seconds if there else 0.0
        if not isinstance(self._stage, StudentStage):
            artifact = self._clock.get(store, self._stage, self._device)
            self._history = [dict(epoch) for epoch in artifact.manifest.history]
            self._has_begun = True
            return
        self._claim: Claim = self._clock.claim(store, self._stage)
        if self._claim.artifact is not None:
            self._history = [dict(epoch) for epoch in self._claim.artifact.manifest.history]
            self._seconds_reused += self._claim.artifact.manifest.seconds
            self._claim.release()
            self._context.budget.replayed(self._stage, self._request.id)
            self._has_begun = True
            return
        try:
            self._trainer = self._stage.open(self._claim.context(self._device))
            self._room = self._context.budget.room_for(self._stage, self._request.id)
            self._trainer.room = self._room.checkpoint
        except BaseException:
            self._claim.release()
            raise
        self._history = list(self._trainer.history)
        self._has_begun = True

    def _show_life(self) -> None:
        """Show that it goes on, although there is no epoch to report."""

    def _train_epoch(self) -> None:
        trainer = self._trainer
        assert trainer is not None
        try:
            profiler = self._profiler
            metrics = trainer.train_epoch() if profiler is None else profiler.train_epoch(trainer)
        except BaseException:
            self._drop()
            raise
        self._history.append(metrics)
        trainer.save_now_and_then(self._claim.work)

    def _drop(self) -> None:
        """Leave the student as it was saved last: in the middle of an epoch it is no one's."""
        if self._trainer is not None:
            self._trainer = None
            self._claim.release()

    def _publish(self) -> None:
        if self._trainer is None:
            return
        assert isinstance(self._stage, StudentStage)
        with self._room.artifact(self._history[-1]) as fits:
            if fits:
                out = self._claim.work / "out"
                self._claim.publish(self._stage.finish(self._trainer, out))
            else:
                store = self._context.store
                remove(store.root, store.work_path(self._stage))
        self._trainer = None
        self._claim.release()

    def _evaluate(self) -> dict[str, float]:
        stage = EvaluationStage(self._stage.reader(), self._stage.data)
        artifact = self._clock.get(self._context.store, stage, self._device)
        metrics = artifact.manifest.metrics
        bad = sorted(name for name, value in metrics.items() if not math.isfinite(value))
        if bad:
            raise NonFiniteLossError(f"{', '.join(bad)} not finite after the last epoch")
        return dict(metrics)

    def _end(self) -> None:
        """Save what is unfinished, let others have it, and give the memory back."""
        if self._trainer is not None:
            if self._trainer.epoch > 0:
                self._trainer.save(self._claim.work)
            self._trainer = None
            self._claim.release()
        gc.collect()
        if torch.cuda.is_available():
            torch.cuda.empty_cache()
