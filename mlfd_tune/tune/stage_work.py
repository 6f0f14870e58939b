"""Shared stages as work for the workers that train students: handed over, computed, watched."""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ray import cloudpickle

from mlfd_tune.core.errors import UserError
from mlfd_tune.core.stages import TrainingStage
from mlfd_tune.core.store import Stage, Store
from mlfd_tune.core.store.artifact import write_atomically

__all__ = ["LEFT_OFF", "PROBLEMS", "Finishing", "StageRequest", "compute", "progress_of"]

PROBLEMS = "problems"
"""In a result: what is wrong with the input of a stage, line by line."""

LEFT_OFF = "left_off"
"""In a result: the stage was left off after an epoch, since the run is to finish."""

_PROGRESS = "progress.txt"
_FINISH = "finish"


class _LeftOffError(Exception):
    """The training was saved, and goes on when somebody needs it again."""


class Finishing:
    """Tells workers to leave trainings off after their epoch, by a file that they look for.

    Args:
        folder: Where stages are put for the workers; what a driver before this one left is removed.
    """

    def __init__(self, folder: Path) -> None:
        self.asked = False
        shutil.rmtree(folder, ignore_errors=True)
        self._file = folder / _FINISH

    def ask(self) -> None:
        """Tell them."""
        self.asked = True
        self._file.parent.mkdir(parents=True, exist_ok=True)
        self._file.touch()


@dataclass(frozen=True)
class StageRequest:
    """A stage to compute, as it stands in Ray's config.

    A stage may carry the listing of a large dataset, too much for a config that Ray copies and
    writes again and again. So it goes by a file.

    Attributes:
        key: The stage's key.
        file: Where the stage is pickled.
        sha256: Checksum of the file. Whatever else lies there is not unpickled, since that could
            run any code; Ray's config comes from the driver, the file's folder may be shared.
    """

    key: str
    file: str
    sha256: str

    @classmethod
    def write(cls, stage: Stage, folder: Path) -> StageRequest:
        """Put a stage into a folder that workers can read."""
        folder.mkdir(parents=True, exist_ok=True)
        file = folder / stage.key
        data = cloudpickle.dumps(stage)
        write_atomically(file, data)
        return cls(stage.key, str(file), hashlib.sha256(data).hexdigest())

    @classmethod
    def read(cls, config: Mapping[str, Any]) -> StageRequest | None:
        """Return the request in a Ray trial's config, or None where that is a student's."""
        if "stage" not in config:
            return None
        return cls(config["stage"], config["file"], config["sha256"])

    @property
    def config(self) -> dict[str, Any]:
        """What `read` reads."""
        return {"stage": self.key, "file": self.file, "sha256": self.sha256}

    @property
    def is_to_finish(self) -> bool:
        """Whether the run is to finish before all is done."""
        return Path(self.file).with_name(_FINISH).exists()

    def open(self) -> Stage:
        """Return the stage.

        Raises:
            ValueError: The file is not the one that was written.
        """
        data = Path(self.file).read_bytes()
        if hashlib.sha256(data).hexdigest() != self.sha256:
            raise ValueError(f"{self.file} is not what the driver wrote; it is not unpickled")
        stage = cloudpickle.loads(data)
        assert isinstance(stage, Stage)
        return stage

    def discard(self) -> None:
        """Remove the file: the work is over."""
        Path(self.file).unlink(missing_ok=True)


def compute(
    store: Store,
    stage: Stage,
    device: str,
    show_life: Callable[[], None] = lambda: None,
    is_to_finish: Callable[[], bool] = lambda: False,
) -> dict[str, Any]:
    """Compute a stage, leaving its progress where `progress_of` finds it.

    Args:
        store: Where it is kept.
        stage: What to compute.
        device: Torch device to compute on.
        show_life: Called whenever it has come further, or waits for another process.
        is_to_finish: Asked after each epoch of a training, which is left off then. Other stages
            have nothing to go on from, and so are computed to their end.

    Returns:
        A result for Ray; problems of the user's making are in it, since trying again is no use.
    """
    file = store.work_path(stage) / _PROGRESS

    def report(fraction: float, text: str) -> None:
        show_life()
        if file.parent.is_dir():
            write_atomically(file, f"{fraction:.4f} {text}".encode())
        if isinstance(stage, TrainingStage) and fraction < 1 and is_to_finish():
            raise _LeftOffError

    try:
        store.get_or_compute(
            stage, device=device, progress=report, on_wait=lambda stage, owner: show_life()
        )
    except UserError as error:
        return {PROBLEMS: list(error.problems)}
    except _LeftOffError:
        return {LEFT_OFF: True}
    return {}


def progress_of(store: Store, stage: Stage) -> tuple[float, str]:
    """Return the fraction done of a stage that a worker computes, and a few words."""
    try:
        fraction, _, text = (store.work_path(stage) / _PROGRESS).read_text().partition(" ")
        return float(fraction), text
    except (OSError, ValueError):
        return 0.0, ""
