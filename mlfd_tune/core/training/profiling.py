"""A look inside one epoch of training: a trace of its first steps and what takes the time."""

from __future__ import annotations

import shutil
import time
from pathlib import Path
from typing import Final

import torch
from torch.profiler import ProfilerActivity, profile, schedule

from mlfd_tune.core.training.trainer import Trainer

__all__ = ["OPERATORS", "STEPS", "TRACE", "EpochProfiler", "profiled_epoch"]

TRACE: Final = "trace.json.gz"
"""Opened by https://ui.perfetto.dev and by chrome://tracing."""
OPERATORS: Final = "operators.txt"
"""The operators that take the most time of their own."""
STEPS: Final = 20
"""A trace has so many steps at most: more only make the file larger."""

_ROWS = 30


class EpochProfiler:
    """Profiles one epoch of whichever training that shares a folder comes to its second first.

    The first epoch of a training loads kernels and grows caches, which is not what the others
    spend their time on. A training of one epoch is profiled in that. All others train as usual.

    Args:
        folder: Where the profile goes; whoever makes it profiles. Its parent must be there.
        title: What is trained, for people.
    """

    def __init__(self, folder: Path, title: str) -> None:
        self._folder = folder
        self._title = title
        self._trained = 0

    def train_epoch(self, trainer: Trainer) -> dict[str, float]:
        """Train the next epoch, profiled or not, and return its metrics, which are the same."""
        due = self._trained > 0 or trainer.spec.epochs == 1
        self._trained += 1
        if not due or not self._take():
            return trainer.train_epoch()
        try:
            return profiled_epoch(trainer, self._folder, self._title)
        except BaseException:  # such as a loss that is not finite: another training has its turn
            shutil.rmtree(self._folder, ignore_errors=True)
            raise

    def _take(self) -> bool:
        try:
            self._folder.mkdir()
        except FileExistsError:
            return False
        return True


def profiled_epoch(trainer: Trainer, folder: Path, title: str) -> dict[str, float]:
    """Train one epoch under torch's profiler, which changes no number, and write what it saw.

    Traced are the first `STEPS` optimiser steps after one to warm up, with the evaluation where the
    epoch has no more than these.

    Args:
        trainer: What trains.
        folder: Where `TRACE` and `OPERATORS` are written; it must be there.
        title: What is trained, for people.

    Returns:
        The epoch's metrics.
    """
    activities = [ProfilerActivity.CPU]
    if trainer.device.type == "cuda":
        activities.append(ProfilerActivity.CUDA)
    warm_up = min(1, trainer.steps_per_epoch - 1)
    plan = schedule(wait=0, warmup=warm_up, active=STEPS, repeat=1) if warm_up else None
    epoch, begin = trainer.epoch + 1, time.perf_counter()
    with profile(activities=activities, schedule=plan) as profiler:
        hook = trainer.optimizer.register_step_post_hook(lambda *_: profiler.step())
        try:
            metrics = trainer.train_epoch()
        finally:
            hook.remove()
    seconds = time.perf_counter() - begin
    profiler.export_chrome_trace(str(folder / TRACE))
    order = "self_device_time_total" if len(activities) > 1 else "self_cpu_time_total"
    table = profiler.key_averages().table(sort_by=order, row_limit=_ROWS)
    traced = min(STEPS, trainer.steps_per_epoch - warm_up)
    about = (
        f"{title}\nepoch {epoch}: {trainer.steps_per_epoch} steps and the evaluation took "
        f"{seconds:.2f} s under the profiler, on {_device(trainer.device)}\n"
        f"traced: {traced} steps after {warm_up} to warm up, batches of "
        f"{trainer.spec.batch_size}, precision {trainer.precision}\n"
    )
    (folder / OPERATORS).write_text(f"{about}\n{table}\n", encoding="utf-8")
    return metrics


def _device(device: torch.device) -> str:
    return torch.cuda.get_device_name(device) if device.type == "cuda" else "the CPU"
