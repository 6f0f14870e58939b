"""What one training takes of a GPU, measured, and how many of its kind fit on it."""

from __future__ import annotations

import math
import os
import threading
import time
from contextlib import suppress
from dataclasses import asdict, dataclass
from importlib import import_module
from typing import Any, Final

import torch

__all__ = [
    "MARGIN",
    "MOST",
    "GpuMeter",
    "GpuUse",
    "Packed",
    "most_per_gpu",
    "trials_per_gpu",
]

MARGIN: Final = 0.1
"""Share of a GPU's memory that is left free: fragments, and batches that take more than others."""
MOST: Final = 16
"""Trials on one GPU at most: each is a process with a context of its own."""


_LOOK_EVERY_S = 0.2


@dataclass(frozen=True)
class GpuUse:
    """What one trial takes of a GPU.

    Attributes:
        bytes: Its memory at the peak, the process's own overhead included.
        total: The GPU's memory in bytes.
        utilisation: Share of the time in which the GPU computed for it; None where that cannot be
            told.
    """

    bytes: int
    total: int
    utilisation: float | None = None


@dataclass(frozen=True)
class Packed:
    """How many trials share a GPU.

    Attributes:
        trials: At least one.
        reason: What sets the limit, for people.
    """

    trials: int
    reason: str


def trials_per_gpu(
    use: GpuUse, cpus: float, threads: float, *, margin: float = MARGIN, most: int = MOST
) -> Packed:
    """Return how many trials to run on one GPU at a time.

    Processes that share a GPU take turns on it: their kernels do not run side by side. So trials
    beyond those that fill its time would only wait for each other.

    Args:
        use: What one takes.
        cpus: CPUs for the trials of one GPU.
        threads: CPUs that one takes.
        margin: Share of the memory to leave free.
        most: Trials at most.
    """
    limits = [
        (most, f"at most {most} processes share a GPU"),
        (
            int(use.total * (1 - margin)) // max(use.bytes, 1),
            f"one takes {_gigabytes(use.bytes)} of {_gigabytes(use.total)}",
        ),
        (int(cpus / threads + 1e-9), f"one takes {threads:g} of {cpus:g} CPUs"),
    ]
    if use.utilisation is not None:
        fill = math.ceil(1 / max(use.utilisation, 1 / most) - 1e-9)
        limits.append((fill, f"one keeps the GPU busy {use.utilisation:.0%} of the time"))
    trials, reason = min(limits, key=lambda limit: limit[0])
    return Packed(max(trials, 1), reason)


def most_per_gpu(cpus: float, threads: float) -> int:
    """Return how many workers one GPU may have: no measurement allows more.

    Args:
        cpus: CPUs for the trials of one GPU.
        threads: CPUs that one takes.
    """
    return max(1, min(MOST, int(cpus / threads + 1e-9)))


def _gigabytes(count: int) -> str:
    return f"{count / 1e9:.1f} GB"


class GpuMeter:
    """Measures one piece of work after the other. Without a GPU it measures nothing.

    Memory is what torch has reserved at its peak, and what the process takes beside that: the CUDA
    context and the libraries. NVML says how much that is where the package ``nvidia-ml-py`` is
    there and sees this process (in a container it may not). Without it, all that is in use on the
    device beside torch's own is counted, other processes' memory too. Either way nothing is counted
    too low.

    Utilisation is NVML's mean since the beginning. It is that of the whole device, so it says
    something only while nothing else runs there.
    """

    def __init__(self) -> None:
        self._has_gpu = torch.cuda.is_available()
        self._busy: list[float] = []
        if self._has_gpu and _utilisation() is not None:
            threading.Thread(target=self._watch, name="gpu-meter", daemon=True).start()

    def begin(self) -> None:
        """Begin another piece of work."""
        self._busy = []
        if self._has_gpu:
            torch.cuda.reset_peak_memory_stats()

    def read(self) -> dict[str, Any] | None:
        """Return what was measured so far as the fields of `GpuUse`, or None without a GPU."""
        if not self._has_gpu:
            return None
        torch.cuda.synchronize()
        free, total = torch.cuda.mem_get_info()
        in_use = _bytes_of_process()
        beside = (total - free if in_use is None else in_use) - torch.cuda.memory_reserved()
        peak = torch.cuda.max_memory_reserved() + max(beside, 0)
        busy = self._busy
        return asdict(GpuUse(peak, total, sum(busy) / len(busy) if busy else None))

    def _watch(self) -> None:
        while (busy := _utilisation()) is not None:
            self._busy.append(busy)
            time.sleep(_LOOK_EVERY_S)


def _utilisation() -> float | None:
    """Return the share of the last moments in which the GPU computed; None if NVML cannot tell."""
    # Without nvidia-ml-py it is an ImportError, without permission one of NVML's own.
    with suppress(Exception):
        return torch.cuda.utilization() / 100
    return None


def _bytes_of_process() -> int | None:
    """Return what NVML says that this process takes, in bytes, or None where it cannot tell."""
    with suppress(Exception):
        pynvml: Any = import_module("pynvml")  # of the package nvidia-ml-py, if there
        pynvml.nvmlInit()
        try:
            uuid = str(torch.cuda.get_device_properties().uuid)
            handle = pynvml.nvmlDeviceGetHandleByUUID(f"GPU-{uuid}".encode())
            for process in pynvml.nvmlDeviceGetComputeRunningProcesses(handle):
                if process.pid == os.getpid() and process.usedGpuMemory:
                    return int(process.usedGpuMemory)
        finally:
            pynvml.nvmlShutdown()
    return None
