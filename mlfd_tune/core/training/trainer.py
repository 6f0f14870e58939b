"""The training loop: one epoch at a time, with complete checkpoints."""

from __future__ import annotations

import logging
import math
import time
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn.utils import clip_grad_norm_
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from mlfd_tune.core.errors import NonFiniteLossError
from mlfd_tune.core.layout import image_layout
from mlfd_tune.core.numeric import autocast, fixed_threads, resolve_precision
from mlfd_tune.core.seeding import RandomStreams
from mlfd_tune.core.training.checkpoint_file import (
    CHECKPOINT,
    NoRoomError,
    Room,
    any_room,
    checkpoint_bytes,
    write_checkpoint,
)
from mlfd_tune.core.training.compilation import compile_networks, explained_compiling
from mlfd_tune.core.training.optimisation import build_optimizer, build_schedule
from mlfd_tune.core.training.sampling import whole_batches
from mlfd_tune.core.training.spec import TrainSpec
from mlfd_tune.core.training.task import Task

__all__ = ["CHECKPOINT", "Trainer"]

log = logging.getLogger(__name__)

CHECKPOINT_EVERY_S = 20.0


class Trainer:
    """Trains a task.

    Data order, augmentation and dropout of epoch e are streams of their own, seeded from the
    trainer's streams and e. So an epoch's draws depend on nothing that came before, a checkpoint
    at an epoch's end holds the whole random state, and arms of one seed can be paired.

    Args:
        task: What to train.
        spec: How.
        streams: The random streams of this training.
        device: Where the task's model is.

    Attributes:
        history: The metrics of every finished epoch.
        room: Holds room for a checkpoint while it is written; by default there is no limit.
        unsaved: Why the latest checkpoint could not be written; None where it could.
    """

    def __init__(
        self, task: Task, spec: TrainSpec, streams: RandomStreams, device: torch.device
    ) -> None:
        self.task = task
        self.spec = spec
        self.streams = streams
        self.device = device
        self.history: list[dict[str, float]] = []
        self.room: Room = any_room
        self.unsaved: str | None = None
        self.precision = resolve_precision(spec.precision)
        task.model.to(memory_format=image_layout(device))
        batches = whole_batches(task.size, spec.batch_size, spec.accumulate)
        self.accumulate = min(spec.accumulate, batches)
        self.steps_per_epoch = batches // self.accumulate
        self.optimizer = build_optimizer(task.model.parameters(), spec)
        self.schedule = build_schedule(self.optimizer, spec, self.steps_per_epoch)
        self.scaler = torch.amp.GradScaler(device.type, enabled=self.precision == "fp16")
        self.average = (
            AveragedModel(task.model, multi_avg_fn=get_ema_multi_avg_fn(spec.ema_decay))  # type: ignore[no-untyped-call]
            if spec.ema_decay
            else None
        )
        if spec.compile:  # after the average, which is a copy
            compile_networks(task.model)
        self._saved_at = time.monotonic()

    @property
    def epoch(self) -> int:
        """Number of finished epochs."""
        return len(self.history)

    @property
    def done(self) -> bool:
        """Whether every epoch is finished."""
        return self.epoch >= self.spec.epochs

    def train_epoch(self) -> dict[str, float]:
        """Train one epoch, evaluate, and return the epoch's metrics.

        Raises:
            NonFiniteLossError: A loss term or metric is NaN or infinite.
            UserError: The network cannot be compiled, as it was asked to be.
        """
        number = self.epoch + 1
        with fixed_threads(self.spec.threads), explained_compiling():
            self.task.model.train()
            with self.streams.as_global(f"dropout/{number}"):
                metrics = self._optimise(number)
            with self.final_weights():
                self.task.model.eval()
                metrics |= self.task.evaluate()
        bad = sorted(name for name, value in metrics.items() if not math.isfinite(value))
        if bad:
            raise NonFiniteLossError(f"{', '.join(bad)} not finite in epoch {number}")
        self.history.append(metrics)
        return metrics

    @contextmanager
    def final_weights(self) -> Iterator[None]:
        """Hold the weights that count inside the block: the moving average, where there is one."""
        if self.average is None:
            yield
            return
        own = {k: v.clone() for k, v in self.task.model.state_dict().items()}
        self.task.model.load_state_dict(self.average.module.state_dict())
        try:
            yield
        finally:
            self.task.model.load_state_dict(own)

    def save(self, folder: Path) -> None:
        """Write a complete checkpoint, replacing the one before by one atomic rename.

        A checkpoint is an insurance: where there is no room for it, a warning says so once, the
        one before stays, and training goes on. Without the folder nobody wants it: whoever
        removes that has given the training up.
        """
        if not folder.is_dir():
            return
        state: dict[str, Any] = {
            "model": self.task.model.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "schedule": self.schedule.state_dict(),
            "scaler": self.scaler.state_dict(),
            "average": self.average.state_dict() if self.average is not None else None,
            "history": self.history,
        }
        needed = checkpoint_bytes(state)
        self._saved_at = time.monotonic()
        try:
            with self.room(needed):
                write_checkpoint(state, folder, needed)
        except (OSError, NoRoomError) as error:
            if folder.is_dir():
                self._could_not_save(folder, error)
        else:
            self.unsaved = None

    def save_now_and_then(self, folder: Path) -> None:
        """Write a checkpoint when the last one is old enough to be worth the time."""
        if time.monotonic() - self._saved_at > CHECKPOINT_EVERY_S:
            self.save(folder)

    def resume(self, folder: Path) -> bool:
        """Go on from the checkpoint in `folder`; return whether there was one."""
        path = folder / CHECKPOINT
        if not path.is_file():
            return False
        state = torch.load(path, map_location=self.device, weights_only=True)
        self.task.model.load_state_dict(state["model"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.schedule.load_state_dict(state["schedule"])
        self.scaler.load_state_dict(state["scaler"])
        if self.average is not None:
            self.average.load_state_dict(state["average"])
        self.history = [dict(epoch) for epoch in state["history"]]
        return True

    def _could_not_save(self, folder: Path, error: Exception) -> None:
        reason = error.strerror or str(error) if isinstance(error, OSError) else str(error)
        place = f" in {folder}" if isinstance(error, OSError) else ""
        first = self.unsaved is None
        self.unsaved = f"no checkpoint is written{place}: {reason}; training goes on without"
        if first:
            log.warning(self.unsaved)

    def _optimise(self, epoch: int) -> dict[str, float]:
        self.task.begin_epoch(epoch, self.spec.epochs)
        order = self.task.order(self.streams.torch(f"order/{epoch}"))
        augment = self.streams.torch(f"augment/{epoch}")
        # Sums stay on the device: reading them in the loop would wait for the device every step.
        sums: dict[str, Tensor] = defaultdict(lambda: torch.zeros((), device=self.device))
        lr = self.optimizer.param_groups[0]["lr"]
        batches = self.steps_per_epoch * self.accumulate
        for number in range(batches):
            first = number * self.spec.batch_size
            with autocast(self.device, self.precision):
                terms = self.task.loss(order[first : first + self.spec.batch_size], augment)
            self.scaler.scale(terms.total / self.accumulate).backward()  # type: ignore[no-untyped-call]
            for name, value in terms.parts.items():
                sums[name] += value
            if (number + 1) % self.accumulate == 0:
                self._step()
        totals = torch.stack(list(sums.values())).tolist()
        means = {f"train/{name}": total / batches for name, total in zip(sums, totals, strict=True)}
        return means | {"train/lr": lr}

    def _step(self) -> None:
        if self.spec.clip_grad is not None:
            self.scaler.unscale_(self.optimizer)
            clip_grad_norm_(self.task.model.parameters(), self.spec.clip_grad)
        self.scaler.step(self.optimizer)
        self.scaler.update()
        self.optimizer.zero_grad(set_to_none=True)
        self.schedule.step()
        if self.average is not None:
            self.average.update_parameters(self.task.model)
