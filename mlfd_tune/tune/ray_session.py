"""Ray, started quietly: what devices there are and what one piece of work takes of them."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import ray

from mlfd_tune.config import ResourceSettings
from mlfd_tune.core.errors import UserError
from mlfd_tune.core.gpu_use import most_per_gpu
from mlfd_tune.tune.packing import Packing

__all__ = ["Capacity", "ray_session"]


@dataclass(frozen=True)
class Capacity:
    """What one trial or stage takes, and how many run at a time.

    Attributes:
        cpus: CPUs of one.
        gpus: GPUs of one; 0 on a machine without.
        slots: How many run at a time.
        packing: Decides how many share a GPU.
        device: ``cpu`` or ``cuda``.
    """

    cpus: float
    gpus: float
    slots: int
    packing: Packing

    @property
    def device(self) -> str:
        """The torch device that work runs on."""
        return "cuda" if self.gpus else "cpu"


@contextmanager
def ray_session(settings: ResourceSettings, threads: int) -> Iterator[Capacity]:
    """Start Ray, or join the cluster that is named, for as long as the block lasts.

    Where this process uses Ray already, that goes on and is left as it is.

    Args:
        settings: The experiment's resources.
        threads: CPU threads of one trial.

    Raises:
        UserError: The cluster cannot be reached, or nothing fits on it.
    """
    joined = ray.is_initialized()
    try:
        ray.init(
            address=settings.address,
            include_dashboard=False if settings.address is None else None,
            log_to_driver=False,
            logging_level=logging.ERROR,
            ignore_reinit_error=True,
        )
    except (ConnectionError, RuntimeError, ValueError) as error:
        reason = str(error).splitlines()[0]
        raise UserError(
            f"resources.address: cannot use Ray at {settings.address!r}: {reason}"
        ) from None
    try:
        yield _capacity(settings, threads)
    finally:
        if not joined:
            ray.shutdown()


def _capacity(settings: ResourceSettings, threads: int) -> Capacity:
    total = ray.cluster_resources()
    cpus, gpus = total.get("CPU", 0.0), total.get("GPU", 0.0)
    cpu_share = min(float(threads), cpus)
    wanted = settings.gpus_per_trial
    if wanted == "auto":  # the smallest share there may be; the packing says how many may run
        share = 1 / most_per_gpu(cpus / gpus, cpu_share) if gpus else 0.0
    else:
        share = (1.0 if gpus else 0.0) if wanted is None else wanted
    if share > gpus:
        raise UserError(
            f"resources.gpus_per_trial: {share:g} asked for, and there are {gpus:g} GPUs"
        )
    fit = int(cpus // cpu_share) if cpu_share else 0
    if share:
        fit = min(fit, int(gpus / share + 1e-9))
    if fit < 1:
        raise UserError(f"resources: no trial fits on {cpus:g} CPUs and {gpus:g} GPUs")
    slots = min(fit, settings.workers or fit)
    if 0 < share < 1:
        per_gpu = None if wanted == "auto" else int(1 / share + 1e-9)
        packing = Packing(int(gpus), cpus / int(gpus), cpu_share, per_gpu)
    else:
        packing = Packing(slots, cpu_share, cpu_share, per_gpu=1)
    return Capacity(cpu_share, share, slots, packing)
