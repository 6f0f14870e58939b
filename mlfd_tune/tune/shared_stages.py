"""Computing the shared stages, several at a time, before the trials that need them."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

import ray

from mlfd_tune.core.errors import UserError
from mlfd_tune.core.store import Artifact, Stage, Store, walk
from mlfd_tune.core.store.artifact import write_atomically
from mlfd_tune.tune.progress import Progress
from mlfd_tune.tune.quiet import quiet_process
from mlfd_tune.tune.ray_session import Capacity

__all__ = ["StageReport", "compute_stages"]

_PROGRESS = "progress.txt"


@dataclass
class StageReport:
    """What became of the shared stages.

    Attributes:
        computed: Stages computed now, with their artifacts.
        reused: Stages whose artifacts were there.
    """

    computed: list[tuple[Stage, Artifact]] = field(default_factory=list)
    reused: list[tuple[Stage, Artifact]] = field(default_factory=list)

    @property
    def seconds_saved(self) -> float:
        """What computing the reused artifacts took when they were made."""
        return sum(artifact.manifest.seconds for _, artifact in self.reused)


def compute_stages(
    stages: Iterable[Stage], store: Store, capacity: Capacity, progress: Progress
) -> StageReport:
    """Get or compute stages and all they need, as many at a time as fit.

    Args:
        stages: What is needed.
        store: Where artifacts are kept.
        capacity: What one stage takes.
        progress: Told what runs, how far it is, and what was reused.

    Raises:
        UserError: A stage met bad input, such as an image that cannot be read.
    """
    report = StageReport()
    todo: dict[str, Stage] = {}
    for stage in walk(stages):
        artifact = store.get(stage)
        if artifact is None:
            todo[stage.key] = stage
        else:
            report.reused.append((stage, artifact))
    store.require_space(sum(stage.estimate_bytes() for stage in todo.values()), "the shared stages")
    progress.stages_found(list(todo.values()), len(report.reused), report.seconds_saved)
    compute = ray.remote(num_cpus=capacity.cpus, num_gpus=capacity.gpus, max_retries=3)(_compute)
    running: dict[Any, Stage] = {}
    shared_store = ray.put(store)
    while todo or running:
        unfinished = todo.keys() | {stage.key for stage in running.values()}
        for key, stage in list(todo.items()):
            ready = not any(below.key in unfinished for below in stage.inputs.values())
            if ready and len(running) < capacity.slots:
                running[compute.remote(shared_store, stage, capacity.device)] = todo.pop(key)
        finished, _ = ray.wait(list(running), timeout=0.3)
        for stage in running.values():
            progress.stage_moved(stage, *_read_progress(store, stage))
        for reference in finished:
            stage = running.pop(reference)
            artifact = _result(reference, store, stage)
            report.computed.append((stage, artifact))
            progress.stage_done(stage, artifact)
    return report


def _compute(store: Store, stage: Stage, device: str) -> None:
    """Run in a Ray worker: compute one stage, leaving its progress where the driver can read it."""
    quiet_process()
    file = store.work_path(stage) / _PROGRESS

    def report(fraction: float, text: str) -> None:
        if file.parent.is_dir():
            write_atomically(file, f"{fraction:.4f} {text}".encode())

    store.get_or_compute(stage, device=device, progress=report)


def _result(reference: Any, store: Store, stage: Stage) -> Artifact:
    try:
        ray.get(reference)
    except ray.exceptions.RayTaskError as error:
        cause = error.cause
        raise cause if isinstance(cause, UserError) else error from None
    artifact = store.get(stage)
    assert artifact is not None
    return artifact


def _read_progress(store: Store, stage: Stage) -> tuple[float, str]:
    try:
        fraction, _, text = (store.work_path(stage) / _PROGRESS).read_text().partition(" ")
        return float(fraction), text
    except (OSError, ValueError):
        return 0.0, ""
