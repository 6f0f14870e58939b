"""What Ray runs: a process that trains students and computes shared stages, whichever is next."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

import torch

from mlfd_tune.core.gpu_use import GpuMeter
from mlfd_tune.tune.packing import ALONE, GPU_USE, OUT_OF_MEMORY
from mlfd_tune.tune.stage_work import StageRequest, compute
from mlfd_tune.tune.timeline import CLOCK
from mlfd_tune.tune.trial import StudentTrial
from mlfd_tune.tune.work_clock import WorkClock

__all__ = ["WARM_UP", "Worker"]

WARM_UP = "warm_up"
"""Key of a config that asks for no work, but only for a worker to be there."""

_WARM_UP_STEP_S = 0.05


class Worker(StudentTrial):
    """Does one piece of work after the other, a student's trial or a shared stage.

    Both by the same processes: each imports torch once, and as many run as there are slots, so that
    neither kind of work takes a device from the other. A stage is one step, with one result.
    """

    _stage_request: StageRequest | None = None
    _is_warming_up = False
    _is_alone = False
    _shortage: str | None = None
    _meter: GpuMeter | None = None

    def step(self) -> dict[str, Any]:
        """Compute the stage, or report the student's next epoch.

        Raises:
            torch.OutOfMemoryError: There is too little memory although nothing else runs.
        """
        if self._is_warming_up:
            time.sleep(_WARM_UP_STEP_S)
            return {}
        if self._shortage is None:
            try:
                return self._work() | self._measured()
            except torch.OutOfMemoryError as error:
                if self._is_alone:
                    raise
                self._shortage = str(error)
        # Only now is the error gone, which holds what the failed step had in memory.
        if self._trains:
            self.give_up()
        return {OUT_OF_MEMORY: self._shortage}

    def _work(self) -> dict[str, Any]:
        if self._stage_request is None:
            return super().step()
        stage = self._stage_request.open()
        result = compute(self._context.store, stage, self._device)
        return result | {CLOCK: self._clock.stamp(), "done": True}

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
        return self._stage_request is None and not self._is_warming_up

    def _begin(self, config: Mapping[str, Any]) -> None:
        self._stage_request = StageRequest.read(config)
        self._is_warming_up = WARM_UP in config
        self._is_alone = ALONE in config
        self._shortage = None
        if not self._is_warming_up:
            self._meter = self._meter or GpuMeter()
            self._meter.begin()
        if not self._trains:
            self._clock = WorkClock()
            return
        try:
            super()._begin(config)
        except torch.OutOfMemoryError as error:
            if self._is_alone:
                raise
            self._shortage = str(error)

    def _measured(self) -> dict[str, Any]:
        use = None if self._meter is None else self._meter.read()
        return {} if use is None else {GPU_USE: use}
