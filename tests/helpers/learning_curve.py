"""A synthetic learning curve. It imports little, so that the workers that draw it start fast."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Any

from ray.tune import Trainable

EPOCHS = 9


class Curve(Trainable):
    """Learns towards an accuracy that falls with `alpha`. Constant `break` asks for trouble."""

    def setup(self, config: dict[str, Any], constants: dict[str, Any]) -> None:
        self.constants = constants
        self.reset_config(config)

    def reset_config(self, new_config: dict[str, Any]) -> bool:
        self.config = new_config
        self.epoch = 0
        marker = Path(self.constants.get("marker", ""))
        if self._trouble[1] == "die idle" and not marker.exists():
            marker.touch()
            os._exit(1)  # to Ray it is as if it had died a moment ago, with nothing to do
        return True

    @property
    def _trouble(self) -> tuple[int, str]:
        number = int(self.config["id"].rpartition("/")[2])
        at_epoch, trouble = self.constants.get("break", {}).get(number, (0, ""))
        return int(at_epoch), str(trouble)

    def step(self) -> dict[str, Any]:
        self.epoch += 1
        time.sleep(self.constants.get("seconds_per_epoch", 0))
        alpha = self.config["params"]["distillation.alpha"]
        result = {
            "epoch": self.epoch,
            "epochs": EPOCHS,
            "val/acc1": 60 - 10 * alpha + self.epoch,
            "done": self.epoch == EPOCHS,
            "pid": os.getpid(),
        }
        at_epoch, trouble = self._trouble
        if self.epoch == at_epoch:
            if trouble == "raise once" and not Path(self.constants["marker"]).exists():
                Path(self.constants["marker"]).touch()
                raise RuntimeError("the worker was preempted")
            if trouble == "raise":
                raise RuntimeError("out of memory on this worker,\ntry a smaller batch")
            if trouble == "die":
                os._exit(1)
            if trouble == "report nan":
                result["val/acc1"] = float("nan")
            if trouble == "forget the metric":
                del result["val/acc1"]
        return result

    def save_checkpoint(self, checkpoint_dir: str) -> None:
        """A curve keeps nothing."""

    def load_checkpoint(self, checkpoint: Any) -> None:
        """A curve keeps nothing."""
