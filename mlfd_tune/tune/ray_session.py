"""Ray, started quietly: what devices there are and what one piece of work takes of them."""

from __future__ import annotations

import logging
import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import psutil
import ray

from mlfd_tune.config import ResourceSettings
from mlfd_tune.core.errors import UserError
from mlfd_tune.core.gpu_use import most_per_gpu
from mlfd_tune.core.uris import is_loopback
from mlfd_tune.tune.packing import Packing
from mlfd_tune.tune.ray_processes import clear_session, own_daemons

__all__ = ["Capacity", "RaySession", "ray_session"]

_log = logging.getLogger(__name__)

# With one of these set, somebody has decided about Ray's cluster or its token already.
_OWN_SECURITY = {"RAY_ADDRESS", "RAY_AUTH_MODE", "RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH"}


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


@dataclass(frozen=True)
class RaySession:
    """Ray, as a driver uses it.

    Attributes:
        capacity: What runs at a time.
        folder: The session's folder; None where Ray was there before, and is left as it is.
        daemons: The processes without which nothing goes on, by what people call them; none where
            Ray was there before.
    """

    capacity: Capacity
    folder: Path | None = None
    daemons: dict[str, psutil.Process] = field(default_factory=dict)


@contextmanager
def ray_session(settings: ResourceSettings, threads: int) -> Iterator[RaySession]:
    """Start Ray, or join the cluster that is named, for as long as the block lasts.

    Where this process uses Ray already, that goes on and is left as it is. Of a Ray that was
    started here nothing is left behind.

    Args:
        settings: The experiment's resources.
        threads: CPU threads of one trial.

    Raises:
        UserError: The cluster cannot be reached, or nothing fits on it.
    """
    joined = ray.is_initialized()
    if settings.address is None and not os.environ.keys() & _OWN_SECURITY:
        # Ray would take one from a file in the home folder, which others can often read. It keeps
        # the first that it sees in a process.
        os.environ["RAY_AUTH_TOKEN"] = secrets.token_hex(32)
    try:
        context = ray.init(
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
    _warn_if_reachable()
    daemons = {} if joined else own_daemons()
    folder = Path(context.address_info["session_dir"]) if daemons else None
    try:
        yield RaySession(_capacity(settings, threads), folder, daemons)
    finally:
        if not joined:
            ray.shutdown()
        if folder is not None:
            clear_session(folder)


def _warn_if_reachable() -> None:
    host = str(ray.get_runtime_context().gcs_address).rpartition(":")[0]
    if not is_loopback(host):
        _log.warning(
            "Ray listens at %s: whoever reaches it and has its token, if it asks for one, can run "
            "programs there; keep its ports inside a private network",
            host,
        )


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
