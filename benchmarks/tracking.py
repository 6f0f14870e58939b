"""What tracking costs: reading a leaderboard of many runs, and logging during a sweep."""

from __future__ import annotations

import json
import math
import os
import subprocess
import sys
import tempfile
from functools import partial
from pathlib import Path
from typing import Any

import mlflow
import pandas as pd
import yaml

from benchmarks.harness import Bar, Report, Samples, measure_in_turns
from benchmarks.processes import cost_of
from benchmarks.tracking_store import EXPERIMENT, fill
from mlfd_tune.tracking import Row, leaderboard
from mlfd_tune.tracking.client import open_client

__all__ = ["plain_leaderboard", "run"]

_KEY = ["kind", "dataset", "method", "config", "baseline_of"]

_SETTING = """\
Leaderboard: one experiment in SQLite whose finished runs have 57 params, about 33 tags and 8 to 11
metrics over five epochs. `mlfd-tune` is `mlfd_tune.tracking.leaderboard`: seeds folded, gains
paired by seed, params that differ. `plain` is `mlflow.search_runs` of the finished runs into
pandas, grouped by configuration into mean, standard deviation and count of both accuracies, without
pairing. Neither counts imports; `command` is all of `mlfd-tune leaderboard --format json`, from the
start of Python to the last line. Logging: a sweep of digits with three teachers on two workers,
its store empty and its database made beforehand, with clocks in the real run around all that is
there for MLflow alone: the thread that sends (the import of MLflow included), and the calls in
which the driver gathers and journals what is logged and, at the end, waits for it to be sent. CPU
seconds are those of all processes of the sweep, Ray's included."""


def run(quick: bool) -> Report:
    """Measure the leaderboard at two sizes, and the share of a sweep that logging takes.

    Args:
        quick: Tiny sizes.
    """
    report = Report(
        "tracking",
        "Tracking: a leaderboard of many runs, and what logging adds to a sweep",
        _SETTING,
        ["what", "mlfd-tune", "plain", "plain / mlfd-tune"],
    )
    with tempfile.TemporaryDirectory(prefix="mlfd-bench-") as folder:
        _measure_leaderboards(report, Path(folder), quick)
        _measure_logging(report, Path(folder), quick)
    return report


def plain_leaderboard(uri: str, experiment: str) -> pd.DataFrame:
    """Return mean, standard deviation and count of the accuracies per configuration, best first."""
    mlflow.set_tracking_uri(uri)
    runs = mlflow.search_runs(experiment_names=[experiment], filter_string="status = 'FINISHED'")
    runs = runs.rename(columns={f"tags.mlfd.{name}": name for name in _KEY})
    runs = runs[runs["kind"].isin(["trial", "confirm"])]
    accuracies = runs.groupby(_KEY, dropna=False)[["metrics.val/acc1", "metrics.test/acc1"]]
    table = accuracies.agg(["mean", "std", "count"])
    return table.sort_values(("metrics.val/acc1", "mean"), ascending=False)


def _measure_leaderboards(report: Report, folder: Path, quick: bool) -> None:
    for runs in (60, 120) if quick else (1_000, 10_000):
        uri = fill(folder / f"{runs}.db", runs)
        in_turns = measure_in_turns(
            {
                "ours": partial(leaderboard, uri, EXPERIMENT),
                "plain": partial(plain_leaderboard, uri, EXPERIMENT),
            },
            # The plain way takes a minute at the larger size.
            repeats=3 if runs == 1_000 else 1,
            warm_up=int(runs == 1_000),
        )
        ours, plain = in_turns["ours"], in_turns["plain"]
        report.rows.append([f"leaderboard of {runs:,} runs", ours, plain, plain.over(ours)])
    _check_means(leaderboard(uri, EXPERIMENT), plain_leaderboard(uri, EXPERIMENT))
    alone = measure_in_turns(
        {
            "function": partial(leaderboard, uri, EXPERIMENT),
            "command": partial(_leaderboard_command, uri),
        },
        repeats=1 if quick else 5,
    )
    report.rows.append([f"again, {runs:,} runs", alone["function"], "", ""])
    report.rows.append([f"command, {runs:,} runs", alone["command"], "", ""])
    what = f"leaderboard of {runs:,} runs"
    report.bars.append(Bar(what, alone["function"], 2.0, at_least=False))
    report.bars.append(Bar(f"{what}, the whole command", alone["command"], 2.0, at_least=False))
    report.notes.append(
        f"Both give the same mean accuracies for every row of the leaderboard of {runs:,} runs."
    )


def _leaderboard_command(uri: str) -> None:
    program = "import sys; from mlfd_tune.cli import main; sys.exit(main())"
    subprocess.run(
        [sys.executable, "-c", program, "leaderboard", EXPERIMENT, "--format", "json"],
        env={**os.environ, "MLFLOW_TRACKING_URI": uri},
        stdout=subprocess.DEVNULL,
        check=True,
    )


def _check_means(rows: list[Row], plain: pd.DataFrame) -> None:
    """Refuse a leaderboard whose means are not those of the plain one."""
    keys = plain.index.to_frame().fillna("").itertuples(index=False, name=None)
    means = dict(zip(keys, plain[("metrics.val/acc1", "mean")], strict=True))
    for row in rows:
        kind = "confirm" if row.n_seeds > 1 else "trial"
        key = (kind, row.dataset, row.method, row.config, ",".join(row.baseline_of))
        assert row.val is not None
        if not math.isclose(row.val.mean, means[key], rel_tol=1e-12):
            raise AssertionError(f"{key}: {row.val.mean} is not {means[key]}")


def _measure_logging(report: Report, folder: Path, quick: bool) -> None:
    measured = [_sweep(folder / f"sweep{turn}", quick) for turn in range(1 if quick else 3)]

    def samples(name: str, unit: str = "s") -> Samples:
        return Samples(tuple(one[name] for one in measured), unit)

    for name, what in {
        "wall": "sweep, wall",
        "cpu": "sweep, CPU",
        "blocked": "of it in the driver's logging calls, wall",
        "driver": "of it in the driver's logging calls, CPU",
        "sender": "of it in the thread that sends, CPU",
        "opening": "of that, importing MLflow and opening the database, once, CPU",
        "tables": "apart from it: making the tables of a new database, once",
    }.items():
        report.rows.append([what, samples(name), "", ""])
    for name, what in {"cpu_share": "CPU time", "wall_share": "wall time"}.items():
        bar = Bar(f"logging's share of a sweep's {what}", samples(name, "%"), 2.0, at_least=False)
        report.bars.append(bar)


def _sweep(folder: Path, quick: bool) -> dict[str, float]:
    """Run a sweep in a new folder and return its seconds and shares."""
    folder.mkdir()
    uri = f"sqlite:///{folder}/mlflow.db"
    made = measure_in_turns({"tables": partial(open_client, uri)}, 1, warm_up=0)
    experiment = folder / "sweep.yaml"
    experiment.write_text(yaml.safe_dump(_experiment(folder, uri, quick)))
    result = folder / "seconds.json"
    program = [sys.executable, "-m", "benchmarks.tracked_sweep", str(experiment), str(result)]
    cost = cost_of(program, folder / "log.txt", {"OMP_NUM_THREADS": "1"})
    seconds: dict[str, float] = json.loads(result.read_text())
    return {
        **seconds,
        "tables": made["tables"].median,
        "wall": cost.wall,
        "cpu": cost.cpu,
        "cpu_share": 100 * (seconds["driver"] + seconds["sender"]) / cost.cpu,
        "wall_share": 100 * seconds["blocked"] / cost.wall,
    }


def _experiment(folder: Path, uri: str, quick: bool) -> dict[str, Any]:
    epochs, size = (1, 60) if quick else (20, 300)
    train = {"epochs": epochs, "optimizer": "adamw", "lr": 2.0e-3, "weight_decay": 0.02}
    architectures = {
        "digits": "test_convnext",
        "letters": "test_resnet",
        "photos": "test_efficientnet",
    }
    return {
        "kind": "sweep",
        "name": "tracked",
        "seed": 0,
        "image_size": 32,
        "datasets": {name: {"source": name, "train_size": size} for name in architectures},
        "targets": ["digits"],
        "teacher": {"train": train},
        "teachers": {name: {"arch": arch} for name, arch in architectures.items()},
        "student": {"train": train},
        "joint_teacher": {"levels": "L1", "width": 64, "train": train},
        "search": {
            "trials": 1 if quick else 24,
            "sampler": "random",
            "space": {"distillation.alpha": {"float": [0.1, 2.0], "log": True}},
        },
        "confirm": {"top_k": 0 if quick else 1, "seeds": 2},
        "store": {"path": str(folder / "store")},
        "runs": str(folder / "runs"),
        "tracking": {"uri": uri},
    }
