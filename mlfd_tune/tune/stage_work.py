"""Shared stages as work for the workers that train students: handed over, computed, watched."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ray import cloudpickle

from mlfd_tune.core.errors import UserError
from mlfd_tune.core.store import Stage, Store
from mlfd_tune.core.store.artifact import write_atomically

__all__ = ["PROBLEMS", "StageRequest", "compute", "progress_of"]

PROBLEMS = "problems"
"""In a result: what is wrong with the input of a stage, line by line."""

_PROGRESS = "progress.txt"


@dataclass(frozen=True)
class StageRequest:
    """A stage to compute, as it stands in Ray's config.

    A stage may carry the listing of a large dataset, too much for a config that Ray copies and
    writes again and again. So it goes by a file.

    Attributes:
        key: The stage's key.
        file: Where the stage is pickled.
    """

    key: str
    file: str

    @classmethod
    def write(cls, stage: Stage, folder: Path) -> StageRequest:
        """Put a stage into a folder that workers can read."""
        folder.mkdir(parents=True, exist_ok=True)
        file = folder / stage.key
        write_atomically(file, cloudpickle.dumps(stage))
        return cls(stage.key, str(file))

    @classmethod
    def read(cls, config: Mapping[str, Any]) -> StageRequest | None:
        """Return the request in a Ray trial's config, or None where that is a student's."""
        return cls(config["stage"], config["file"]) if "stage" in config else None

    @property
    def config(self) -> dict[str, Any]:
        """What `read` reads."""
        return {"stage": self.key, "file": self.file}

    def open(self) -> Stage:
        """Return the stage."""
        stage = cloudpickle.loads(Path(self.file).read_bytes())
        assert isinstance(stage, Stage)
        return stage

    def discard(self) -> None:
        """Remove the file: the work is over."""
        Path(self.file).unlink(missing_ok=True)


def compute(store: Store, stage: Stage, device: str) -> dict[str, Any]:
    """Compute a stage, leaving its progress where `progress_of` finds it.

    Returns:
        A result for Ray; problems of the user's making are in it, since trying again is no use.
    """
    file = store.work_path(stage) / _PROGRESS

    def report(fraction: float, text: str) -> None:
        if file.parent.is_dir():
            write_atomically(file, f"{fraction:.4f} {text}".encode())

    try:
        store.get_or_compute(stage, device=device, progress=report)
    except UserError as error:
        return {PROBLEMS: list(error.problems)}
    return {}


def progress_of(store: Store, stage: Stage) -> tuple[float, str]:
    """Return the fraction done of a stage that a worker computes, and a few words."""
    try:
        fraction, _, text = (store.work_path(stage) / _PROGRESS).read_text().partition(" ")
        return float(fraction), text
    except (OSError, ValueError):
        return 0.0, ""
