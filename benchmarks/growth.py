"""How the cost of a sweep grows with its trials and with its datasets."""

from __future__ import annotations

import string
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.contenders.experiment import draw_points, write_experiment
from benchmarks.contenders.platform import Platform, seconds_by_stage
from benchmarks.harness import Bar, Report, Samples
from mlfd_tune.core.models import FUSION_DEPTHS

__all__ = ["exponent", "run", "slope"]

# Fusion depth stays as it is, so that the joint teachers are as many however many trials there are.
SPACE: dict[str, Any] = {
    "distillation.alpha": {"float": [0.1, 2.0], "log": True},
    "distillation.temperature": {"choice": [1, 2, 4]},
    "distillation.beta.embedding": {"float": [0.01, 1.0], "log": True},
    "distillation.beta.stride32": {"float": [0.01, 1.0], "log": True},
}
RECIPE = {"optimizer": "adamw", "lr": 2.0e-3, "weight_decay": 0.02}
KINDS = ("teacher", "features", "joint_teacher", "targets", "student")
SETTING = """`mlfd-tune run` without early stopping and confirmation, each time from an empty store,
{workers} trials at a time on CPU, one thread each. Every dataset is five letters of the built-in
`letters`, {images} training images, all of one size; teachers, `test_resnet`, and students train
{epochs} epochs, joint teachers of depth L2 {joint_epochs}. First one dataset with more and more
trials, then more and more datasets with {few} trials each, every dataset both target and teacher.
CPU is that of all processes from the start of the program to its end; the other columns are what
the store says that stages took, in seconds on the clock, summed over the stages of a kind."""


@dataclass(frozen=True)
class Size:
    """How far it is grown.

    Attributes:
        trials: Numbers of trials for one dataset.
        datasets: Numbers of datasets.
        few: Trials of each dataset there.
        images: Training images of a dataset.
        epochs: Of teachers and students; a joint teacher has half as many again.
        workers: Trials at a time.
    """

    trials: tuple[int, ...]
    datasets: tuple[int, ...]
    few: int
    images: int
    epochs: int
    workers: int


FULL = Size((8, 16, 32, 64), (2, 4, 8, 16), few=2, images=200, epochs=8, workers=2)
QUICK = Size((1, 2), (1, 2), few=1, images=40, epochs=1, workers=1)


@dataclass(frozen=True)
class Grown:
    """What a sweep cost: CPU seconds in all, seconds and number of stages by kind."""

    cpu: float
    seconds: Mapping[str, float]
    counts: Mapping[str, int]


def run(quick: bool) -> Report:
    """Grow a sweep in trials, then in datasets."""
    size = QUICK if quick else FULL
    report = Report(
        name="growth",
        title="Growth: trials and datasets",
        setting=SETTING.format(
            workers=size.workers,
            images=size.images,
            epochs=size.epochs,
            joint_epochs=size.epochs * 3 // 2,
            few=size.few,
        ),
        columns=("datasets", "trials of each", "CPU s", *KINDS),
    )
    sizes = [(1, trials) for trials in size.trials]
    sizes += [(datasets, size.few) for datasets in size.datasets]
    with tempfile.TemporaryDirectory() as folder:
        measured = {
            (datasets, trials): _measure(size, datasets, trials, Path(folder))
            for datasets, trials in dict.fromkeys(sizes)
        }
    for (datasets, trials), grown in measured.items():
        report.rows.append([datasets, trials, f"{grown.cpu:.0f}", *_cells(grown)])
    _tell_trials(report, size, [measured[1, trials] for trials in size.trials])
    _tell_datasets(report, size, [measured[datasets, size.few] for datasets in size.datasets])
    return report


def exponent(sizes: Sequence[float], costs: Sequence[float]) -> float:
    """Return k of cost = c * size**k, by least squares of the logarithms."""
    return float(np.polyfit(np.log(sizes), np.log(costs), 1)[0])


def slope(sizes: Sequence[float], costs: Sequence[float]) -> float:
    """Return b of cost = a + b * size, by least squares."""
    return float(np.polyfit(sizes, costs, 1)[0])


def _measure(size: Size, datasets: int, trials: int, folder: Path) -> Grown:
    points = draw_points(SPACE, trials, 0, FUSION_DEPTHS["L2"])
    name = f"{datasets}_datasets_{trials}_trials"
    experiment = write_experiment(
        folder / f"{name}.yaml", _experiment(size, datasets), SPACE, points
    )
    platform = Platform(folder / name, size.workers)
    cost, _ = platform.run("run", experiment, points, "none")
    seconds = seconds_by_stage(platform.store)
    expected = {
        "teacher": datasets,
        "features": datasets**2,
        "joint_teacher": datasets,
        "student": datasets * trials,
    }
    counts = {kind: len(values) for kind, values in seconds.items()}
    if any(counts[kind] != number for kind, number in expected.items()):
        raise ValueError(f"{name} should have computed {expected}, and did {counts}")
    return Grown(cost.cpu, {kind: sum(values) for kind, values in seconds.items()}, counts)


def _experiment(size: Size, datasets: int) -> dict[str, Any]:
    alphabet = string.ascii_uppercase
    train, joint = ({**RECIPE, "epochs": epochs} for epochs in (size.epochs, size.epochs * 3 // 2))
    return {
        "image_size": 32,
        "datasets": {
            f"letters_{alphabet[first]}": {
                "source": "letters",
                "train_size": size.images,
                "val_fraction": 0.1,
                "classes": list(alphabet[first : first + 5]),
            }
            for first in range(datasets)
        },
        "teacher": {"arch": "test_resnet", "train": train},
        "student": {"train": train},
        "joint_teacher": {"levels": "L2", "heads": "per_dataset", "train": joint},
    }


def _cells(grown: Grown) -> list[str]:
    return [f"{grown.seconds[kind]:.1f} ({grown.counts[kind]})" for kind in KINDS]


def _tell_trials(report: Report, size: Size, grown: Sequence[Grown]) -> None:
    trials = [float(count) for count in size.trials]
    cpu = [one.cpu for one in grown]
    students = [one.seconds["student"] for one in grown]
    own = sum(students) / sum(one.counts["student"] for one in grown)
    per_trial = slope(trials, cpu)
    of_students = exponent(trials, students)
    report.notes.append(
        f"Trials: the whole sweep's CPU grows with exponent {exponent(trials, cpu):.2f} (its start "
        f"and its shared stages are there once) and by {per_trial:.2f} s with each trial; a "
        f"student's own training takes {own:.2f} s. Students grow with exponent {of_students:.2f}; "
        "teachers, features and joint teachers do not grow."
    )
    report.bars += [
        Bar("exponent of students over trials", Samples((of_students,), ""), 1.1, at_least=False),
        Bar(
            "CPU that one more trial adds, over a student's own seconds",
            Samples((per_trial / own,), "x"),
            1.1,
            at_least=False,
        ),
    ]


def _tell_datasets(report: Report, size: Size, grown: Sequence[Grown]) -> None:
    datasets = [float(count) for count in size.datasets]
    by_kind = {kind: exponent(datasets, [one.seconds[kind] for one in grown]) for kind in KINDS}
    whole = exponent(datasets, [one.cpu for one in grown])
    shown = ", ".join(f"{kind} {value:.2f}" for kind, value in by_kind.items())
    report.notes.append(
        f"Datasets: the whole sweep's CPU grows with exponent {whole:.2f}; by kind of stage: "
        f"{shown}. There is a teacher per dataset, and a student per trial. Features are those of "
        "every teacher on every dataset, so they grow with the square, and so does what joint "
        "teachers read, one per dataset with an adaptor for every teacher."
    )
    report.bars.append(
        Bar(
            "exponent of teachers over datasets",
            Samples((by_kind["teacher"],), ""),
            1.1,
            at_least=False,
        )
    )
