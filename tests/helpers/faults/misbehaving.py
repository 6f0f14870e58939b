"""A method whose trainings go wrong as they are told to, installed as a package of its own."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

__all__ = ["environment", "install"]

METHOD = '''
"""A method that learns the labels, and makes the trouble that its options ask for."""

import ctypes
import os
import signal
import time
from dataclasses import replace
from pathlib import Path

import torch
from mlfd_tune.core.data import DATASETS
from mlfd_tune.core.methods.labels import LabelsAlone
from mlfd_tune.core.stages import BaselineStage, StudentTask

HELD = []


def take(megabytes):
    HELD.append(torch.ones(megabytes * 2**18))


class TroubleTask(StudentTask):
    def begin_epoch(self, epoch, epochs):
        super().begin_epoch(epoch, epochs)
        self.epoch = epoch

    def loss(self, indices, augment):
        terms = super().loss(indices, augment)
        if self.epoch != 2:
            return terms
        marker = Path(os.environ["TROUBLE"], self.trouble)
        is_first, _ = not marker.exists(), marker.touch()
        match self.trouble:
            case "nan" | "explode":
                factor = float("nan" if self.trouble == "nan" else "inf")
                return replace(
                    terms,
                    total=terms.total * factor,
                    parts={name: value * factor for name, value in terms.parts.items()},
                )
            case "raise":
                raise RuntimeError("no such luck")
            case "raise_once" if is_first:
                raise RuntimeError("bad luck this once")
            case "out_of_memory":
                raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 MiB.")
            case "memory_error":
                raise MemoryError("no more")
            case "hang":
                ctypes.PyDLL(None).sleep(100_000)  # holds the lock: no signal is heeded
            case "leak":
                while True:
                    take(100)
                    time.sleep(0.02)
            case "leave":
                if is_first:
                    take(1400)
            case "die":
                os.kill(os.getpid(), signal.SIGKILL)
            case "real_out_of_memory":
                torch.empty(2**50, device=indices.device)
        return terms


class FrozenOnce(DATASETS["digits"]):
    """Digits; the first worker that reads them is stopped in the middle of it."""

    def load(self, spec):
        marker = Path(os.environ["TROUBLE"], "frozen")
        if b"ray::" in Path("/proc/self/cmdline").read_bytes() and not marker.exists():
            marker.touch()
            os.kill(os.getpid(), signal.SIGSTOP)
        return super().load(spec)


class TroubleStage(BaselineStage):
    def task(self, student, data, lessons, streams):
        if self.spec.options["trouble"] == "setup":
            raise ValueError("nothing fits")
        task = TroubleTask(student, data, self.spec.train)
        task.trouble = self.spec.options["trouble"]
        return task


class Trouble(LabelsAlone):
    description = "labels alone, with trouble"

    def student(self, pipeline, target, seed):
        spec = pipeline.student_spec(target, seed)
        return TroubleStage(pipeline.student_data(target), spec)
'''


def install(folder: Path) -> None:
    """Lay the package down in `folder`/packages as pip does.

    Its method is called `trouble`, and its dataset, which is that of the digits, `frozen_once`.
    """
    about = folder / "packages" / "trouble-1.0.dist-info"
    about.mkdir(parents=True)
    (folder / "trouble").mkdir()
    (folder / "packages" / "trouble.py").write_text(METHOD)
    (about / "METADATA").write_text("Metadata-Version: 2.1\nName: trouble\nVersion: 1.0\n")
    (about / "entry_points.txt").write_text(
        "[mlfd_tune.methods]\ntrouble = trouble:Trouble\n"
        "[mlfd_tune.datasets]\nfrozen_once = trouble:FrozenOnce\n"
    )


def environment(folder: Path) -> Mapping[str, str]:
    """Return the variables with which a driver and its workers find the package."""
    return {
        "PYTHONPATH": os.pathsep.join(
            filter(None, [str(folder / "packages"), os.environ.get("PYTHONPATH")])
        ),
        "TROUBLE": str(folder / "trouble"),
    }
