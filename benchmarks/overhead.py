"""What the platform adds to training: idle workers, and milliseconds per trial and epoch."""

from __future__ import annotations

import math
import sys
import tempfile
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from mlflow import MlflowClient

from benchmarks.contenders.platform import ENVIRONMENT
from benchmarks.harness import Bar, Report, Samples
from benchmarks.processes import cost_of
from mlfd_tune.tune.run_log import SECONDS_TRAINED
from mlfd_tune.tune.timeline import read_timeline

__all__ = ["run"]

_SETTING = """Sweeps of students without distillation (`test_resnet`, 32 px, the digits), random
search, no early stopping, two workers of one thread, one MLflow database in sqlite; all by
`mlfd-tune run`. A
worker's training is the seconds inside its training steps and evaluations after each epoch,
measured in the worker. Overhead is what is left of workers x wall time: of the whole command with
its start and end, and from the first trial's start to the last one's end. Milliseconds per trial
and per reported epoch: a least-squares line, over trials of 1 to 40 short epochs, through the time
from a trial's start on a worker to the start of the next, less its training; the spread is over
three parts of the trials. In short epochs training and reporting compete for the same two cores."""


@dataclass(frozen=True)
class Size:
    """How much is run.

    Attributes:
        workers: Trials at a time.
        short: Trials of few and short epochs.
        epochs: Their numbers of epochs, drawn at random.
        long: Trials of the second sweep; 0 for none.
        long_s: Seconds of one, about.
    """

    workers: int
    short: int
    epochs: tuple[int, ...]
    long: int
    long_s: float


FULL = Size(workers=2, short=90, epochs=(1, 10, 20, 40), long=12, long_s=20.0)
QUICK = Size(workers=1, short=7, epochs=(1, 3), long=0, long_s=0.0)
_PARTS = 3
_PROBE_EPOCHS = 5
_IMAGES = 1000
_FEW_IMAGES = 60


@dataclass(frozen=True)
class Work:
    """What one worker did for one trial.

    Attributes:
        worker: The worker's process.
        start: When the trial began there, in seconds.
        end: When it reported its last epoch.
        epochs: How many it reported.
        trained: Seconds inside its training steps and evaluations.
    """

    worker: int
    start: float
    end: float
    epochs: int
    trained: float


@dataclass(frozen=True)
class Swept:
    """A sweep that was run.

    Attributes:
        wall: Seconds of the whole command.
        works: Its trials.
    """

    wall: float
    works: tuple[Work, ...]

    @property
    def trained(self) -> float:
        """Seconds of training, of all workers."""
        return sum(work.trained for work in self.works)

    @property
    def searching(self) -> float:
        """Seconds from the first trial's start to the last one's end."""
        return max(work.end for work in self.works) - min(work.start for work in self.works)

    def overhead(self, workers: int, seconds: float) -> Samples:
        """Return the share of the workers' time that is not training, in percent."""
        return Samples((100 * (1 - self.trained / (workers * seconds)),), "%")


def run(quick: bool) -> Report:
    """Measure short trials, and trials of 20 s."""
    size = QUICK if quick else FULL
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder)
        short = sweep(place / "short", size.workers, size.short, size.epochs, _FEW_IMAGES)
        parts = [milliseconds(short.works, part, _PARTS) for part in range(_PARTS)]
        trial = Samples(tuple(per_trial for per_trial, _ in parts), "ms")
        epoch = Samples(tuple(per_epoch for _, per_epoch in parts), "ms")
        rows = [_row("short", short, size)]
        notes: list[str] = []
        bars = [Bar("per trial", trial, 150.0, False), Bar("per reported epoch", epoch, 5.0, False)]
        if size.long:
            # Trials of few epochs, one for each worker, tell how many epochs take so long.
            probe = sweep(place / "probe", size.workers, size.workers, (_PROBE_EPOCHS,), _IMAGES)
            epochs = round(size.long_s * size.workers * _PROBE_EPOCHS / probe.trained)
            long = sweep(place / "long", size.workers, size.long, (epochs,), _IMAGES)
            rows.append(_row("long", long, size))
            notes.append(_start_up(long, size))
            bars += [
                Bar("overhead, whole command", long.overhead(size.workers, long.wall), 5.0, False),
                Bar(
                    "overhead, without start and end",
                    long.overhead(size.workers, long.searching),
                    5.0,
                    False,
                ),
            ]
    return Report(
        "overhead",
        "Platform overhead",
        " ".join(_SETTING.split()),
        ("sweep", "trials", "epochs", "a trial", "whole command", "overhead", "without start"),
        rows,
        bars,
        notes,
    )


def _start_up(long: Swept, size: Size) -> str:
    """Say from how many trials on the start weighs little enough."""
    fixed, each = long.wall - long.searching, long.trained / len(long.works)
    busy = long.trained / (size.workers * long.searching)
    enough = "never below 5 %"
    if busy > 0.95:  # trials * each >= 0.95 * workers * (fixed + trials * each / workers / busy)
        trials = math.ceil(0.95 * size.workers * fixed / (each * (1 - 0.95 / busy)))
        enough = f"below 5 % from about {trials} such trials on"
    return (
        f"Start and end take {fixed:.0f} s, however long the sweep: importing torch, Ray and "
        f"MLflow, starting Ray, and a worker's own imports. A whole command is {enough}."
    )


def sweep(folder: Path, workers: int, trials: int, epochs: Sequence[int], images: int) -> Swept:
    """Run a sweep with the command.

    Args:
        folder: Where all of it goes; made.
        workers: Trials at a time.
        trials: How many.
        epochs: Their numbers of epochs, drawn at random.
        images: Size of the training split.
    """
    folder.mkdir()
    file = folder / "sweep.yaml"
    file.write_text(yaml.safe_dump(_experiment(folder, workers, trials, epochs, images)))
    program = "import sys; from mlfd_tune.cli import main; sys.exit(main())"
    command = [sys.executable, "-c", program, "run", str(file)]
    cost = cost_of(command, folder / "log.txt", ENVIRONMENT)
    trained = _seconds_trained(_uri(folder), folder.name)
    (session,) = read_timeline(next(folder.glob("runs/*/*")))
    works = tuple(
        Work(span.pid, span.start, span.end, *trained[span.label])
        for span in session.spans
        if span.is_trial
    )
    return Swept(cost.wall, works)


def milliseconds(works: Sequence[Work], part: int = 0, parts: int = 1) -> tuple[float, float]:
    """Return what a trial and what a reported epoch add to training, in milliseconds.

    Args:
        works: All trials of a sweep.
        part: Which of the trials count: every `parts`-th, from this one on.
        parts: In how many parts the trials are looked at.
    """
    by_worker = defaultdict(list)
    for work in works:
        by_worker[work.worker].append(work)
    added = [
        (before.epochs, 1000 * (after.start - before.start - before.trained))
        for own in by_worker.values()
        for before, after in pairwise(sorted(own, key=lambda work: work.start))
    ]
    epochs, seconds = np.array(added[part::parts]).T
    per_epoch, per_trial = np.polyfit(epochs, seconds, 1)
    return float(per_trial), float(per_epoch)


def _experiment(
    folder: Path, workers: int, trials: int, epochs: Sequence[int], images: int
) -> dict[str, Any]:
    return {
        "kind": "sweep",
        "name": folder.name,
        "seed": 0,
        "image_size": 32,
        "method": "none",
        "datasets": {"digits": {"source": "digits", "train_size": images}},
        "teacher": {"arch": "test_resnet"},
        "student": {"arch": "test_resnet"},
        "search": {
            "trials": trials,
            "sampler": "random",
            "scheduler": "none",
            "space": {
                "student.train.epochs": {"choice": list(epochs)},
                "student.train.lr": {"float": [1.0e-4, 1.0e-2], "log": True},
            },
        },
        "confirm": {"top_k": 0},
        "resources": {"workers": workers},
        "store": {"path": str(folder / "store")},
        "tracking": {"uri": _uri(folder)},
        "runs": str(folder / "runs"),
    }


def _seconds_trained(uri: str, name: str) -> Mapping[str, tuple[int, float]]:
    """Return the epochs and the seconds of training of an experiment's trials, by their ids."""
    client = MlflowClient(uri)
    experiment = client.get_experiment_by_name(name)
    assert experiment is not None
    runs = client.search_runs([experiment.experiment_id], "tags.`mlfd.kind` = 'trial'")
    return {
        run.info.run_name.replace(" ", "/"): (
            int(run.data.params["student.train.epochs"]),
            float(run.data.tags[SECONDS_TRAINED]),
        )
        for run in runs
    }


def _uri(folder: Path) -> str:
    return (
        f"sqlite:///{folder.parent / 'mlflow.db'}"  # made by the first sweep, which takes seconds
    )


def _row(name: str, swept: Swept, size: Size) -> Sequence[object]:
    epochs = sum(work.epochs for work in swept.works)
    return (
        name,
        len(swept.works),
        epochs,
        Samples(tuple(work.trained for work in swept.works)),
        Samples((swept.wall,)),
        swept.overhead(size.workers, swept.wall),
        swept.overhead(size.workers, swept.searching),
    )
