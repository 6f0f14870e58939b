"""f. Trials per GPU: what all trials of a packed GPU get done against one that has it to itself."""

from __future__ import annotations

import os
import tempfile
import time
from multiprocessing import get_context
from multiprocessing.connection import Connection
from multiprocessing.synchronize import Barrier
from pathlib import Path

import torch

from benchmarks.harness import Bar, Report, Samples
from mlfd_tune.core.gpu_use import GpuMeter, GpuUse, trials_per_gpu
from mlfd_tune.core.pipeline import Catalogue, Pipeline
from mlfd_tune.core.settings import PipelineSettings
from mlfd_tune.core.stages import StudentStage
from mlfd_tune.core.store import Store

__all__ = ["run", "side_by_side", "student_stage"]

_SETTINGS = {
    "image_size": 32,
    "datasets": {"digits": {"source": "digits", "train_size": 1200}},
    "teacher": {"arch": "resnet18"},
    "student": {"arch": "resnet18", "train": {"epochs": 1000}},
    "method": "none",
}
_LONGEST_START_S = 300.0


def run(quick: bool) -> Report:
    """Measure one trial alone and as many as fit, in turns."""
    report = Report(
        "packing",
        "f. Trials per GPU",
        "One trial is a process that trains a ResNet-18 student on 1,200 images of 32 px in "
        "batches of 64, mixed precision, as a worker of the platform does. It is measured alone "
        "(memory at its peak, share of the time the GPU is busy), `trials_per_gpu` says how many "
        "of it fit, and that many train side by side. Counted are images per second of all "
        "together, after two epochs to warm up.",
        ("trials on the GPU", "images/s of all", "against one alone"),
    )
    if not torch.cuda.is_available():
        report.notes.append("Not measured: there is no GPU here.")
        return report
    seconds, repeats = (3.0, 1) if quick else (20.0, 3)
    with tempfile.TemporaryDirectory() as folder:
        stage = student_stage(Path(folder))
        _, use = side_by_side(stage, Path(folder), 1, seconds, "cuda")
        assert use is not None
        packed = trials_per_gpu(use, cpus=len(os.sched_getaffinity(0)), threads=1)
        counts = [1, packed.trials] if packed.trials > 1 else [1]
        taken: dict[int, list[float]] = {count: [] for count in counts}
        for _ in range(repeats):
            for count in counts:
                speed, _ = side_by_side(stage, Path(folder), count, seconds, "cuda")
                taken[count].append(speed)
    speeds = {count: Samples(tuple(values), "images/s") for count, values in taken.items()}
    for count, samples in speeds.items():
        report.rows.append((count, samples, samples.over(speeds[1])))
    gain = speeds[packed.trials].over(speeds[1])
    report.bars.append(Bar(f"{packed.trials} trials on one GPU against one", gain, 2.5))
    busy = "unknown (no NVML)" if use.utilisation is None else f"{use.utilisation:.0%}"
    report.notes.append(
        f"One trial takes {use.bytes / 1e9:.2f} GB of {use.total / 1e9:.0f} GB and keeps the GPU "
        f"busy {busy} of the time. What limits the packing: {packed.reason}."
    )
    return report


def student_stage(folder: Path) -> StudentStage:
    """Return what a trial trains, with its dataset in a store in `folder`."""
    settings = PipelineSettings.model_validate(_SETTINGS)
    stage = Pipeline(settings, Catalogue()).student("digits")
    assert isinstance(stage, StudentStage)
    for below in stage.inputs.values():
        Store(folder).get_or_compute(below)
    return stage


def side_by_side(
    stage: StudentStage, folder: Path, count: int, seconds: float, device: str
) -> tuple[float, GpuUse | None]:
    """Return images per second of `count` processes together, and what one of them takes."""
    context = get_context("spawn")
    barrier = context.Barrier(count)
    pipes, processes = [], []
    for _ in range(count):
        mine, its = context.Pipe(duplex=False)
        process = context.Process(
            target=_train, args=(stage, folder, seconds, device, barrier, its)
        )
        process.start()
        pipes.append(mine)
        processes.append(process)
    told = [pipe.recv() for pipe in pipes]
    for process in processes:
        process.join()
    return sum(speed for speed, _ in told), told[0][1]


def _train(
    stage: StudentStage,
    folder: Path,
    seconds: float,
    device: str,
    barrier: Barrier,
    pipe: Connection,
) -> None:
    store, meter = Store(folder), GpuMeter()
    inputs = {name: store.get_or_compute(below) for name, below in stage.inputs.items()}
    trainer = stage.trainer(inputs, torch.device(device))
    for _ in range(2):
        trainer.train_epoch()
    barrier.wait(_LONGEST_START_S)
    meter.begin()
    images, begin = 0, time.perf_counter()
    while time.perf_counter() - begin < seconds:
        trainer.train_epoch()  # ends with metrics on the CPU, so the GPU is done
        images += trainer.task.size
    speed = images / (time.perf_counter() - begin)
    use = meter.read()
    pipe.send((speed, None if use is None else GpuUse(**use)))
