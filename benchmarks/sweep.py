"""What a sweep costs here, and what it costs when every trial computes what it needs."""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import mean
from typing import Any

from benchmarks.contenders.experiment import draw_points, write_experiment
from benchmarks.contenders.history import History, compare
from benchmarks.contenders.platform import ENVIRONMENT, Platform, seconds_by_stage
from benchmarks.harness import Bar, Report, Samples
from benchmarks.processes import Cost, cost_of

__all__ = ["run"]

LINEUP = Path(__file__).parents[1] / "experiments" / "shared" / "builtin_lineup.yaml"

# `search_spaces/distillation.yaml`, one level deeper and with two kinds of joint teachers.
SPACE: dict[str, Any] = {
    "joint_teacher.levels": {"choice": ["L1", "L2", "L3"]},
    "joint_teacher.adaptor": {"choice": ["pointwise", "linear"]},
    "distillation.alpha": {"float": [0.1, 2.0], "log": True},
    "distillation.temperature": {"choice": [1, 2, 4]},
    "distillation.beta.embedding": {"float": [0.01, 1.0], "log": True},
    "distillation.beta.stride32": {"float": [0.01, 1.0], "log": True},
    "distillation.beta.stride16": {"float": [0.01, 1.0], "log": True},
}


@dataclass(frozen=True)
class Size:
    """How large the sweep is.

    Attributes:
        trials: Of each dataset.
        content: What the experiment file says beside the lineup and the search.
        epochs: Of teachers and students; a joint teacher has half as many again.
        batch_size: Of teachers and students.
        schedulers: With and without early stopping.
        workers: Trials at a time.
        everything: Whether the platform runs the sweep with ASHA again, and another in the same
            store, and `careful` once more with features kept.
    """

    trials: int
    content: Mapping[str, Any]
    epochs: int
    batch_size: int
    schedulers: tuple[str, ...]
    workers: int
    everything: bool

    @property
    def experiment(self) -> dict[str, Any]:
        """The experiment file, without its search."""
        few = {"train": {"epochs": self.epochs, "batch_size": self.batch_size}}
        many = {"train": {"epochs": self.epochs * 3 // 2}}
        return {
            "include": str(LINEUP),
            **self.content,
            "teacher": few,
            "student": few,
            "joint_teacher": {"heads": "shared", **many},
        }


# Epochs of teachers, students and joint teachers stand to each other as in the lineup.
FULL = Size(
    trials=32,
    content={
        "datasets": {
            "digits": {"train_size": 150, "val_fraction": 0.1},
            "letters": {"train_size": 150, "val_fraction": 0.1, "classes": list("ABCDEFGHIJ")},
            "photos": {"train_size": 150, "val_fraction": 0.1},
        }
    },
    epochs=9,
    batch_size=16,
    schedulers=("asha", "none"),
    workers=2,
    everything=True,
)
QUICK = Size(
    trials=2,
    content={
        "datasets": {
            name: {"train_size": 34, "val_fraction": 0.05}
            for name in ("digits", "letters", "photos")
        },
        "targets": ["digits"],
    },
    epochs=2,
    batch_size=16,
    schedulers=("none",),
    workers=1,
    everything=False,
)
SETTING = """{trials} trials for each of {datasets} of the built-in lineup, {epochs} epochs in
batches of {batch} of teachers and students and {joint_epochs} epochs of joint
teachers, one thread a trial, {workers} at a time, on CPU. One joint teacher learns
all datasets (`heads: shared`), as in the paper. All contenders try the same points,
drawn once at random over fusion depths L1 to L3, two kinds of joint teacher and the
coefficients of Eq. 3, with the same seeds. `asha`: from epoch 1, one in 3 goes on.
Images and epochs are fewer than in the lineup, and batches smaller, since two steps
of 64 images teach nobody enough to tell trials apart at ASHA's first rung. So the
benchmark ends in minutes, but trials are shorter than any that are worth tuning: what
a program costs to start and a trial to begin weighs more than in real sweeps, on all
sides.

`platform cold` is `mlfd-tune run` with an empty store, MLflow database included;
`again` is the same sweep once more, with nothing left to train: its start and its
bookkeeping; `warm` is another sweep of the same lineup, with as many other points, in
the store that these left. `naive` is a Ray Tune trainable that computes its whole
pipeline: it packs the images, trains three teachers, extracts features, trains a
joint teacher, computes targets, and trains the student. `careful` had packed images
and teachers made beforehand, which is counted once; each trial extracts features,
trains a joint teacher and a student. `careful, features kept` had the features made
beforehand as well. All three are spared tracking, checkpoints and Ray's own logs;
their actors are reused; ASHA is Ray's. Cost is CPU seconds of all processes from the
start of the program to its end."""


@dataclass(frozen=True)
class Outcome:
    """What a contender's sweep cost, and what came out of it."""

    cost: Cost
    history: History

    def after(self, beforehand: Cost) -> Outcome:
        """Return the same with what was spent beforehand added to the cost."""
        cost = Cost(beforehand.wall + self.cost.wall, beforehand.cpu + self.cost.cpu)
        return Outcome(cost, self.history)


class Arena:
    """Runs the contenders on one experiment, everything in one folder.

    Args:
        size: How large the sweep is.
        folder: Where everything is written.
    """

    def __init__(self, size: Size, folder: Path) -> None:
        self.size = size
        self.folder = folder
        self.points = draw_points(SPACE, size.trials, seed=0)
        self.others = draw_points(SPACE, size.trials, seed=1)
        self.experiment = self._write("sweep", self.points)
        self.other = self._write("other_sweep", self.others)

    def platform(self, scheduler: str) -> dict[str, Outcome]:
        """Run this platform's sweeps, one after the other in one store."""
        platform = Platform(self.folder / f"platform_{scheduler}", self.size.workers)
        sweeps = {"platform cold": (self.experiment, self.points)}
        if self.size.everything and scheduler == "asha":
            sweeps["platform again"] = (self.experiment, self.points)
            sweeps["platform warm"] = (self.other, self.others)
        outcomes = {}
        for name, (experiment, points) in sweeps.items():
            label = name.split()[-1]
            outcomes[name] = Outcome(*platform.run(label, experiment, points, scheduler))
        return outcomes

    def by_hand(self, name: str, scheduler: str, given: Path | None = None) -> Outcome:
        """Run a contender that computes per trial what `given` does not have."""
        out = self.folder / f"{name.replace(', ', '_')}_{scheduler}.jsonl"
        command = [sys.executable, "-m", "benchmarks.contenders.by_hand"]
        command += [str(self.experiment), str(out)]
        command += ["--scheduler", scheduler, "--workers", str(self.size.workers)]
        command += ["--given", str(given)] if given else []
        cost = cost_of(command, out.with_suffix(".log"), ENVIRONMENT)
        return Outcome(cost, History.read(out))

    def beforehand(self, name: str, *stages: str) -> tuple[Path, Cost]:
        """Make a store with the named stages and return it with what it cost."""
        store = self.folder / name
        command = [sys.executable, "-m", "benchmarks.contenders.beforehand"]
        command += [str(self.experiment), str(store), *stages]
        return store, cost_of(command, self.folder / f"{name}.log", ENVIRONMENT)

    def mean_seconds(self, scheduler: str) -> dict[str, float]:
        """Return what stages took on average in this platform's store, by stage name."""
        seconds = seconds_by_stage(self.folder / f"platform_{scheduler}" / "store")
        return {name: mean(values) for name, values in seconds.items()}

    def _write(self, name: str, points: Sequence[Mapping[str, Any]]) -> Path:
        path = self.folder / f"{name}.yaml"
        return write_experiment(path, self.size.experiment, SPACE, [dict(p) for p in points])


def run(quick: bool) -> Report:
    """Run every contender with every scheduler, in turns of whole sweeps.

    Raises:
        ValueError: Two contenders got different results from the same trial.
    """
    size = QUICK if quick else FULL
    with tempfile.TemporaryDirectory() as folder:
        return _report(size, Arena(size, Path(folder)))


def _report(size: Size, arena: Arena) -> Report:
    report = Report(
        name="sweep",
        title="A sweep: this platform, and a pipeline per trial",
        setting=SETTING.format(
            trials=size.trials,
            datasets=_datasets(size),
            epochs=size.epochs,
            batch=size.batch_size,
            joint_epochs=size.epochs * 3 // 2,
            workers=size.workers,
        ),
        columns=(
            "contender",
            "early stopping",
            "CPU s",
            "wall s",
            "student epochs",
            "teachers trained",
            "joint teachers trained",
        ),
    )
    given = {"careful": arena.beforehand("teachers", "dataset", "teacher")}
    if size.everything:
        kept = arena.beforehand("features", "dataset", "teacher", "features")
        given["careful, features kept"] = kept
    outcomes: dict[str, dict[str, Outcome]] = {}
    for scheduler in size.schedulers:
        contenders = {**arena.platform(scheduler), "naive": arena.by_hand("naive", scheduler)}
        for name, (store, cost) in given.items():
            if name == "careful, features kept" and scheduler != "asha":
                continue
            contenders[name] = arena.by_hand(name, scheduler, store).after(cost)
        outcomes[scheduler] = contenders
        for name, outcome in contenders.items():
            report.rows.append([name, scheduler, *_cells(outcome)])
    report.notes += [_equalities(size, outcomes), _start_up(outcomes), _limits(arena, outcomes)]
    report.bars += _bars(outcomes)
    return report


def _cells(outcome: Outcome) -> list[object]:
    history, cost = outcome.history, outcome.cost
    counts = (history.epochs, history.stages["teacher"], history.stages["joint_teacher"])
    return [f"{cost.cpu:.0f}", f"{cost.wall:.0f}", *counts]


def _equalities(size: Size, outcomes: Mapping[str, Mapping[str, Outcome]]) -> str:
    """Check what contenders that ran the same trials reported, and say so."""
    same: dict[str, History] = {}
    others: dict[str, History] = {}
    for scheduler, contenders in outcomes.items():
        for name, outcome in contenders.items():
            group = others if name == "platform warm" else same
            group[f"{name}, {scheduler}"] = outcome.history
            every = size.trials * len(_targets(size)) * size.epochs
            if scheduler == "none" and outcome.history.epochs != every:
                raise ValueError(f"{name} ran {outcome.history.epochs} epochs instead of {every}")
    compared = compare(same) + compare(others)
    return (
        "Results are equal: validation accuracy was compared for every epoch that two of these "
        f"runs have in common, {compared:,} in all, and no bit differs. Without early stopping "
        "every contender ran every epoch of every trial."
    )


def _start_up(outcomes: Mapping[str, Mapping[str, Outcome]]) -> str:
    shares = []
    for scheduler, contenders in outcomes.items():
        if "platform again" in contenders:
            again, cold = (contenders[f"platform {name}"].cost.cpu for name in ("again", "cold"))
            shares.append(f"{again:.0f} of {cold:.0f} CPU s with {scheduler}")
    if not shares:
        return "What the platform itself costs was not measured."
    return (
        "A sweep that finds everything in its store (`again`) is what the platform itself costs: "
        "starting, planning, reporting, tracking, and taking up students that were stopped where "
        f"they were. It took {' and '.join(shares)}."
    )


def _limits(arena: Arena, outcomes: Mapping[str, Mapping[str, Outcome]]) -> str:
    """Say how much sharing could save at all, whatever a platform costs."""
    seconds = arena.mean_seconds(arena.size.schedulers[-1])
    student, teacher, packing = (seconds[name] for name in ("student", "teacher", "dataset"))
    joint, features = seconds["joint_teacher"] + seconds["targets"], 9 * seconds["features"]
    alone = student + joint + features
    whole = alone + 3 * (teacher + packing)
    per_dataset = student + (joint + features) / 3
    return (
        f"On average a student took {student:.2f} s, a joint teacher and its targets {joint:.2f} "
        f"s, the features of three teachers in three datasets {features:.2f} s, a teacher "
        f"{teacher:.2f} s, packing a dataset {packing:.2f} s. Everyone has to train the students: "
        "without early stopping nothing that has all the rest for free can be more than "
        f"{whole / student:.2f}x cheaper than `naive`, or {alone / student:.2f}x than `careful`. "
        "Where each dataset has a joint teacher of its own (`heads: per_dataset`, the official "
        "code), that has a third of the images to learn from, and the last figure would be about "
        f"{per_dataset / student:.2f}x.{_limit_with_asha(student / arena.size.epochs, outcomes)}"
    )


def _limit_with_asha(epoch_s: float, outcomes: Mapping[str, Mapping[str, Outcome]]) -> str:
    """Say how much cheaper the students alone are that ASHA let train."""
    contenders = outcomes.get("asha")
    if contenders is None:
        return ""
    students = contenders["platform cold"].history.epochs * epoch_s
    most = contenders["naive"].cost.cpu / students
    return (
        f" With ASHA the students' epochs that were trained come to {students:.0f} s, so that the "
        f"figure for `naive` would be about {most:.1f}x; how much of each trial ASHA saves decides "
        "that, and what a platform costs to start is the rest."
    )


def _bars(outcomes: Mapping[str, Mapping[str, Outcome]]) -> list[Bar]:
    wanted = {
        ("naive", "platform cold", "asha"): 8.0,
        ("naive", "platform cold", "none"): 3.5,
        ("careful", "platform cold", "asha"): 1.8,
        ("careful", "platform cold", "none"): 1.8,
        ("naive", "platform warm", "asha"): 12.0,
    }
    bars = []
    for (dear, cheap, scheduler), bar in wanted.items():
        contenders = outcomes.get(scheduler, {})
        if dear in contenders and cheap in contenders:
            how = "with ASHA" if scheduler == "asha" else "without early stopping"
            ratio = contenders[dear].cost.cpu / contenders[cheap].cost.cpu
            bars.append(Bar(f"CPU of {dear} over {cheap}, {how}", Samples((ratio,), "x"), bar))
    return bars


def _targets(size: Size) -> Sequence[str]:
    return list(size.content.get("targets", size.content["datasets"]))


def _datasets(size: Size) -> str:
    shown = []
    for name in _targets(size):
        spec = size.content["datasets"][name]
        classes = f", {len(spec['classes'])} classes" if "classes" in spec else ""
        shown.append(f"{name} ({spec['train_size']} images{classes})")
    return ", ".join(shown)
