"""An epoch of distillation from cached targets, against the usual per-sample loop."""

from __future__ import annotations

import copy
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import torch
from torch.utils.data import DataLoader

from benchmarks.contenders.per_sample_loop import (
    Batch,
    Equation3,
    Loop,
    SampleFiles,
    loader,
    transform_like,
    write_samples,
)
from benchmarks.harness import Bar, Report, Samples, measure_in_turns
from mlfd_tune.core.data import PackedDataset
from mlfd_tune.core.numeric import autocast, fixed_threads
from mlfd_tune.core.pipeline import Catalogue, Pipeline
from mlfd_tune.core.settings import PipelineSettings
from mlfd_tune.core.stages import DistilledStudentStage, TargetsStage
from mlfd_tune.core.stages.distillation_task import DistillationTask
from mlfd_tune.core.stages.joint_teacher import load_joint_teacher
from mlfd_tune.core.store import Store
from mlfd_tune.core.training import Trainer

__all__ = ["run"]

TARGET = "photos"
OURS = "mlfd-tune"
WORKERS = {"DataLoader, 0 workers": 0, "DataLoader, 2 workers": 2}
PRESETS = ("light", "autoaugment")
EVALUATION_BATCH = 256
TOLERANCE = 2e-3
"""Of the first loss, relative: stored targets are rounded to half precision."""


@dataclass(frozen=True)
class Case:
    """What is distilled.

    Attributes:
        title: For people.
        student: Its architecture; the three teachers are small ones.
        image_size: Pixels.
        images: Training images.
        repeats: Turns that count.
    """

    title: str
    student: str
    image_size: int
    images: int
    repeats: int


def run(quick: bool) -> Report:
    """Measure input pipelines and whole epochs; check that both ways have the same loss."""
    cases = (
        [Case("test_efficientnet, 32 px", "test_efficientnet", 32, 64, 1)]
        if quick
        else [
            Case("test_efficientnet, 32 px", "test_efficientnet", 32, 576, 5),
            Case("resnet18, 64 px", "resnet18", 64, 192, 3),
        ]
    )
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    report = Report(
        "distillation",
        "Distillation epoch",
        "A student of the dataset `photos` learns from the joint teacher of three small teachers "
        "(L2, Eq. 3, AdamW, batches of 64, one thread in the process that trains). *mlfd-tune*: "
        "packed images, augmentation by the batch, stored targets. *DataLoader*: torch's, with "
        "none or two worker processes beside the one that trains (they live on between epochs); "
        "each sample is a PNG file of the training's own size, which spares decoding large ones, "
        "opened by PIL, varied by torchvision's transforms, normalised, and the features of the "
        "three teachers are read from a `.npy` file each; files are in the system's cache. "
        "*Input*: batches of images, labels and targets (DataLoader: and features), no network. "
        "*Epoch*: the training and an evaluation of the validation images; the loop runs the joint "
        "teacher for its targets, as the official code does. With no workers the loop has one "
        "process, as mlfd-tune has; with two it has three, which on this machine means the second "
        "core, where otherwise another trial would run.",
        ("case", "augmentation", "what", "way", "images/s", "mlfd-tune is faster by"),
    )
    for case in cases:
        with tempfile.TemporaryDirectory() as folder, fixed_threads(1):
            _measure(case, device, Path(folder), report)
    return report


def _measure(case: Case, device: torch.device, folder: Path, report: Report) -> None:
    bench = _Distillation(case, device, folder)
    ours, theirs = bench.first_losses()
    if abs(ours - theirs) > TOLERANCE * abs(theirs):
        raise AssertionError(f"{case.title}: first losses {ours} and {theirs} are not the same")
    report.notes.append(
        f"{case.title}: without augmentation, the first batch's loss is {ours:.6f} here and "
        f"{theirs:.6f} in the loop."
    )
    epoch_bar = 10.0 if device.type == "cuda" else 2.0
    for preset in PRESETS:
        inputs = measure_in_turns(bench.inputs(preset), case.repeats)
        epochs = measure_in_turns(bench.epochs(preset), case.repeats)
        for what, seconds, wanted in (("input", inputs, 8.0), ("epoch", epochs, epoch_bar)):
            for way, taken in seconds.items():
                rate = Samples(tuple(bench.images / each for each in taken.values), "images/s")
                faster = "" if way == OURS else taken.over(seconds[OURS])
                report.rows.append((case.title, preset, what, way, rate, faster))
            for way in WORKERS:
                ratio = seconds[way].over(seconds[OURS])
                name = f"{case.title}, {what}, {preset}, against {way}"
                report.bars.append(Bar(name, ratio, wanted))
        report.notes.append(_limit(f"{case.title}, {preset}", inputs, epochs))


def _limit(title: str, inputs: Mapping[str, Samples], epochs: Mapping[str, Samples]) -> str:
    """Say what an input pipeline that costs nothing would give."""
    ours, network = epochs[OURS].median, epochs[OURS].median - inputs[OURS].median
    most = ", ".join(f"{epochs[way].median / network:.2f}x against {way}" for way in WORKERS)
    return (
        f"{title}: images and targets take {inputs[OURS].median / ours:.1%} of an epoch here, the "
        f"student the rest. If they took nothing, an epoch would be faster by {most}."
    )


class _Distillation:
    """One student's data and networks, for both ways."""

    def __init__(self, case: Case, device: torch.device, folder: Path) -> None:
        self.case = case
        self.device = device
        self.folder = folder
        self.store = Store(folder / "store")
        self.student = self._stage("none")
        self.inputs_of = {
            name: self.store.get_or_compute(stage, device=device.type)
            for name, stage in self.student.inputs.items()
        }
        self.packed = PackedDataset(self.inputs_of["dataset"].path)
        trainer = self._trainer("none")
        self.batch = trainer.spec.batch_size
        self.images = trainer.steps_per_epoch * self.batch
        self._write_files()
        self._generator = torch.Generator().manual_seed(0)

    def inputs(self, preset: str) -> Mapping[str, Callable[[], object]]:
        """Return what makes the batches of one epoch, by way."""
        task = self._task(self._trainer(preset))
        return {OURS: partial(self._our_batches, task)} | {
            way: partial(_exhaust, self._loader(preset, workers))
            for way, workers in WORKERS.items()
        }

    def epochs(self, preset: str) -> Mapping[str, Callable[[], object]]:
        """Return what trains one epoch and evaluates, by way."""
        loops = {}
        for way, workers in WORKERS.items():
            loop, training = self._loop(), self._loader(preset, workers)
            validation = self._loader("none", workers, "val")
            loops[way] = partial(loop.epoch, training, validation)
        return {OURS: self._trainer(preset).train_epoch} | loops

    def first_losses(self) -> tuple[float, float]:
        """Return the loss of the first images, not augmented, in mlfd-tune and in the loop."""
        trainer, loop = self._trainer("none"), self._loop()
        indices = torch.arange(self.batch)
        trainer.task.model.train()
        loop.networks.train()
        with autocast(self.device, trainer.precision):
            ours = trainer.task.loss(indices, torch.Generator()).total
        samples = self._samples("none")
        images, labels, features = next(iter(DataLoader(samples, self.batch)))
        theirs = loop.loss(
            images.to(self.device),
            labels.to(self.device),
            {name: each.to(self.device) for name, each in features.items()},
        )
        return float(ours.detach()), float(theirs.detach())

    def _our_batches(self, task: DistillationTask) -> None:
        order = torch.randperm(task.size, generator=self._generator)
        for first in range(0, self.images, self.batch):
            indices = order[first : first + self.batch]
            images, _ = task.training.augmented(indices, task.train.augment, self._generator)
            task.targets.taught(indices, images)

    def _trainer(self, preset: str) -> Trainer:
        return self._stage(preset).trainer(self.inputs_of, self.device)

    def _loop(self) -> Loop:
        """Return the loop at the first weights of `_trainer`."""
        trainer = self._trainer("none")
        task, chosen = self._task(trainer), self.student.spec.distillation
        student, adaptors = copy.deepcopy(task.student), copy.deepcopy(task.adaptors)
        joint = load_joint_teacher(self._joint_folder, self.device)
        optimizer = torch.optim.AdamW(
            [*student.parameters(), *adaptors.parameters()],
            lr=trainer.spec.lr,
            weight_decay=trainer.spec.weight_decay,
        )
        criterion = Equation3(chosen.alpha, chosen.beta, chosen.temperature, chosen.ce_weight)
        context = partial(autocast, self.device, trainer.precision)
        return Loop(student, adaptors, joint, TARGET, criterion, optimizer, context, self.device)

    def _task(self, trainer: Trainer) -> DistillationTask:
        assert isinstance(trainer.task, DistillationTask)
        return trainer.task

    def _samples(self, preset: str, split: str = "train") -> SampleFiles:
        return SampleFiles(
            self.folder / split,
            self.packed.labels(split).tolist(),
            self._teachers if split == "train" else (),
            transform_like(preset, self.packed),
        )

    def _loader(self, preset: str, workers: int, split: str = "train") -> DataLoader[Batch]:
        training = split == "train"
        size = self.batch if training else EVALUATION_BATCH
        pin = self.device.type == "cuda"
        return loader(self._samples(preset, split), size, workers, training=training, pin=pin)

    def _write_files(self) -> None:
        targets = self.student.targets
        assert isinstance(targets, TargetsStage)
        joint = targets.joint_teacher
        self._teachers = joint.teachers
        self._joint_folder = self.store.get_or_compute(joint).path
        features = {
            teacher: np.load(
                self.store.get_or_compute(joint.features[teacher, TARGET]).path / "train.npy"
            )
            for teacher in joint.teachers
        }
        write_samples(self.packed, "train", features, self.folder / "train")
        write_samples(self.packed, "val", {}, self.folder / "val")

    def _stage(self, preset: str) -> DistilledStudentStage:
        few = {"epochs": 1, "batch_size": 64, "optimizer": "adamw", "lr": 2e-3}
        settings = PipelineSettings(
            image_size=self.case.image_size,
            datasets={
                "digits": {"source": "digits", "train_size": 128},
                "letters": {"source": "letters", "train_size": 208},
                TARGET: {"source": "photos", "train_size": self.case.images},
            },
            teachers={
                "digits": {"arch": "test_convnext", "train": few},
                "letters": {"arch": "test_resnet", "train": few},
                TARGET: {"arch": "test_efficientnet", "train": few},
            },
            student={
                "arch": self.case.student,
                "train": {**few, "epochs": 1000, "schedule": "constant", "augment": preset},
            },
            joint_teacher={"levels": "L2", "train": few},
            distillation={"target_norm": "none"},
        )
        stage = Pipeline(settings, Catalogue()).student(TARGET)
        assert isinstance(stage, DistilledStudentStage)
        return stage


def _exhaust(batches: DataLoader[Batch]) -> None:
    for _ in batches:
        pass
