"""Several trials on one GPU: how many fit, and what to do when they did not.

A driver keeps one `Packing`. Each piece of work has a key, such as its target dataset, and takes a
share of a GPU: a whole one until one of its key has been measured, then as much as `trials_per_gpu`
says. Work starts when its share is free. One that runs out of memory all the same is paused, runs
again when nothing else does, and makes the shares of its key larger from then on.

Ray is told of none of this: its own fractions of a GPU cannot change while a Tuner keeps its
workers. They only say on which GPU a worker is.
"""

from __future__ import annotations

import math
from fractions import Fraction
from typing import Final

from mlfd_tune.core.gpu_use import GpuUse, Packed, trials_per_gpu

__all__ = ["ALONE", "GPU_USE", "OUT_OF_MEMORY", "Packing"]

GPU_USE: Final = "gpu_use"
"""Where a result holds what its worker measured, the fields of `GpuUse`."""
OUT_OF_MEMORY: Final = "out_of_memory"
"""In a result: the trial could not go on, and why."""
ALONE: Final = "alone"
"""In a trial's config: nothing else runs, so that running out of memory is an error."""


class Packing:
    """Decides what may run at the same time. Used by one driver, in one thread.

    The shares of all GPUs are added up: on a machine with several, Ray chooses which of them a
    worker has, so that one may hold more than its part for a while. What then runs out of memory
    is repeated alone.

    Args:
        gpus: GPUs there are, or places on a machine without.
        cpus: CPUs for the work of each.
        threads: CPUs of one piece of work.
        per_gpu: How many share a GPU, whatever they take; None to go by measurements.
    """

    def __init__(self, gpus: int, cpus: float, threads: float, per_gpu: int | None = None) -> None:
        self._gpus = gpus
        self._cpus = cpus
        self._threads = threads
        self._given = None if per_gpu is None else Packed(per_gpu, "as the settings say")
        self._per_gpu: dict[str, Packed] = {}
        self._running: dict[str, str] = {}
        self._paused: dict[str, str] = {}
        self._alone: str | None = None

    def packed(self, key: str) -> Packed | None:
        """Return how many of a key share a GPU, or None while that is not known."""
        return self._per_gpu.get(key, self._given)

    def may_start(self, key: str) -> bool:
        """Tell whether another piece of work of this key may start now."""
        if self._paused or self._alone is not None:
            return False
        taken = sum(map(self._share, self._running.values()), Fraction())
        return taken + self._share(key) <= self._gpus

    def started(self, work: str, key: str) -> None:
        """Note that a piece of work runs."""
        self._running[work] = key

    def measured(self, work: str, use: GpuUse) -> Packed | None:
        """Note what a piece of work takes.

        Returns:
            How many of its key share a GPU, where that has changed; it is never raised again.
        """
        key = self._running[work]
        packed, before = trials_per_gpu(use, self._cpus, self._threads), self.packed(key)
        if before is not None and (self._given or before.trials <= packed.trials):
            return None
        self._per_gpu[key] = packed
        return packed

    def out_of_memory(self, work: str) -> Packed:
        """Note that a piece of work ran out of memory and was paused; one fewer run from now on.

        Returns:
            How many of its key share a GPU now.
        """
        at_once = math.ceil(len(self._running) / self._gpus)
        key = self._running.pop(work)
        before = self.packed(key)
        most = at_once if before is None else min(before.trials, at_once)
        packed = Packed(max(most - 1, 1), f"{at_once} at once ran out of memory")
        self._per_gpu[key] = packed
        self._paused[work] = key
        return packed

    def next_alone(self) -> str | None:
        """Return the paused piece of work that is to go on now, with nothing beside it."""
        if self._alone is not None:
            return self._alone if self._alone not in self._running else None
        if self._running or not self._paused:
            return None
        self._alone = next(iter(self._paused))
        return self._alone

    def resumed(self, work: str) -> None:
        """Note that a piece of work runs, which may have been paused."""
        if work in self._paused:
            self._running[work] = self._paused.pop(work)

    def ended(self, work: str) -> None:
        """Note that a piece of work is over, however it ended."""
        self._running.pop(work, None)
        self._paused.pop(work, None)
        if self._alone == work:
            self._alone = None

    def _share(self, key: str) -> Fraction:
        packed = self.packed(key)
        return Fraction(1) if packed is None else Fraction(1, packed.trials)
