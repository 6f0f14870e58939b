"""What Ray runs: a process that trains students and computes shared stages, whichever is next."""

from __future__ import annotations

import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from mlfd_tune.core.gpu_use import GpuMeter
from mlfd_tune.core.sizes import size_text
from mlfd_tune.tune.disk_trouble import disk_trouble
from mlfd_tune.tune.memory_guard import MemoryGuard, own_memory
from mlfd_tune.tune.packing import ALONE, GPU_USE, OUT_OF_MEMORY
from mlfd_tune.tune.signs import Signs
from mlfd_tune.tune.soundness import as_refusal, as_result, leaves_worker_sound
from mlfd_tune.tune.stage_work import PROBLEMS, StageRequest, compute
from mlfd_tune.tune.timeline import CLOCK
from mlfd_tune.tune.trial import StudentTrial, TrialContext
from mlfd_tune.tune.work_clock import WorkClock

__all__ = ["FULL", "REFUSED", "WARM_UP", "Worker", "worker_with"]

WARM_UP = "warm_up"
"""Key of a config that asks for no work, but only for a worker to be there."""
REFUSED = "refused"
"""Key of a trial's config: it is not to be trained, and why."""
FULL = "full"
"""In a result: the worker holds too much memory from earlier work to begin this, and how much."""

_WARM_UP_STEP_S = 0.05


class Worker(StudentTrial):
    """Does one piece of work after the other, a student's trial or a shared stage.

    Both by the same processes: each imports torch once, and as many run as there are slots, so that
    neither kind of work takes a device from the other. A stage is one step, with one result.

    An exception that says nothing about the process comes back as a result, and the worker stays.
    """

    _guard: MemoryGuard | None = None
    _meter: GpuMeter | None = None
    _has_worked = False
    _is_new = True

    def setup(
        self,
        config: dict[str, Any],
        context: TrialContext,
        signs: Path | None = None,
        max_memory: int | None = None,
    ) -> None:
        """Prepare the first work of this process.

        Args:
            config: The work.
            context: What all trials share.
            signs: Folder for signs of life.
            max_memory: Bytes that the process may take.
        """
        self._signs = None if signs is None else Signs(signs)
        self._guard = None if max_memory is None else MemoryGuard(max_memory)
        super().setup(config, context)

    def step(self) -> dict[str, Any]:
        """Compute the stage, or report the student's next epoch.

        Raises:
            torch.OutOfMemoryError: There is too little memory although nothing else runs.
            Exception: Whatever leaves the process in doubt.
        """
        if WARM_UP in self._asked:
            time.sleep(_WARM_UP_STEP_S)
            return {}
        if REFUSED in self._asked:
            return as_refusal(self._asked[REFUSED])
        if self._is_new and self._is_full():
            return {FULL: size_text(own_memory())}
        try:
            return self._work() | self._measured()
        except torch.OutOfMemoryError as error:
            if ALONE in self._asked:
                raise
            result: dict[str, Any] = {OUT_OF_MEMORY: str(error)}
        except Exception as error:
            trouble = disk_trouble(error, self._context.store.root)
            if trouble is not None:
                result = {PROBLEMS: list(trouble.problems)}
            elif not leaves_worker_sound(error):
                raise
            else:
                result = as_result(error, self._position)
        # Only now is the error gone, which holds what the failed step had in memory.
        if self._trains:
            self.give_up()
        return result

    def _work(self) -> dict[str, Any]:
        self._begin_work()
        if self._stage_request is None:
            return super().step()
        request = self._stage_request
        stage = request.open()
        result = compute(
            self._context.store,
            stage,
            self._device,
            self._show_life,
            lambda: request.is_to_finish,
        )
        return result | {CLOCK: self._clock.stamp(), "done": True}

    def _begin_work(self) -> None:
        if not self._is_new:
            return
        self._is_new = False
        self._has_worked = True
        self._clock = WorkClock(self._show_life)
        self._meter = self._meter or GpuMeter()
        self._meter.begin()
        if self._guard is not None:
            self._guard.begin(self._leave_last_words)

    def save_checkpoint(self, checkpoint_dir: str) -> None:
        """Keep the student; a stage keeps what it needs itself."""
        if self._trains:
            super().save_checkpoint(checkpoint_dir)

    def load_checkpoint(self, checkpoint: str) -> None:
        """Go on with the student."""
        if self._trains:
            super().load_checkpoint(checkpoint)

    @property
    def _trains(self) -> bool:
        return self._stage_request is None and WARM_UP not in self._asked

    def _take(self, config: Mapping[str, Any]) -> None:
        super()._take(config)
        self._stage_request = StageRequest.read(config)
        self._is_new = True

    def _is_full(self) -> bool:
        return self._has_worked and self._guard is not None and self._guard.too_much_is_left

    def _show_life(self) -> None:
        if self._signs is not None:
            self._signs.show(self.trial_id)

    def _leave_last_words(self, text: str) -> None:
        if self._signs is not None:
            self._signs.last_words(self.trial_id, text)

    def _measured(self) -> dict[str, Any]:
        use = None if self._meter is None else self._meter.read()
        return {} if use is None else {GPU_USE: use}


def worker_with(context: TrialContext, signs: Path, max_memory: int | None) -> type[Worker]:
    """Return the class of the workers of one run.

    What they share travels in the class itself. In Ray's object store, where `tune.with_parameters`
    would put it, it would be lost with its node; and Ray then ends the driver at once, before that
    can tell how to go on, as where a service is stopped with all its processes.

    Args:
        context: What all trials share.
        signs: Folder for signs of life.
        max_memory: Bytes that each process may take.
    """

    class WorkerOfRun(Worker):
        def setup(self, config: dict[str, Any]) -> None:  # type: ignore[override]
            super().setup(config, context, signs, max_memory)

    WorkerOfRun.__name__ = Worker.__name__  # which the processes show
    return WorkerOfRun
