"""What must hold after every fault, as plain functions that assert.

Each takes the folder in which the command was started: with the experiment file, `runs`,
`mlflow.db` and `.mlfd/store` in it.
"""

from __future__ import annotations

import json
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import psutil

from mlfd_tune.core.store import Artifact, Store, verify_store
from tests.helpers.faults.outcome import Outcome, Recorded, outcome_of, recorded
from tests.helpers.faults.sweep import marked, temporary_folder

__all__ = [
    "Snapshot",
    "check_artifacts",
    "check_best",
    "check_epochs",
    "check_gone",
    "check_leaks",
    "check_metrics",
    "check_states",
]

_MLFLOW_STATUS = {"COMPLETE": "FINISHED", "PRUNED": "KILLED", "FAIL": "FAILED"}
_SHARED_MEMORY = Path("/dev/shm")
_PATIENCE_S = 20.0


def check_states(folder: Path, uri: str | None = None) -> None:
    """Every planned trial has one final state, on which Tune, Optuna and MLflow agree.

    Tune knows only what one driver has seen, and a driver that is killed takes that along. What it
    has told of a trial's end stands in `ended.txt` from then on, which is what a resumed run goes
    by; its own file is looked at where a driver lived to write it.

    Args:
        folder: Where the command was started.
        uri: Where MLflow is; by default the database in the folder.
    """
    run = recorded(folder, uri)
    states = {name: trial.state.name for name, trial in run.trials.items()}
    assert states.keys() == run.planned
    unfinished = {name: state for name, state in states.items() if state not in _MLFLOW_STATUS}
    assert not unfinished, f"no final state in Optuna: {unfinished}"

    logged = list(run.own_runs("trial"))
    assert Counter(name for name, _ in logged) == Counter(run.planned)
    for name, found in logged:
        assert found.info.status == _MLFLOW_STATUS[states[name]], name

    confirmed = list(run.own_runs("confirm"))
    assert len({name for name, _ in confirmed}) == len(confirmed) == run.confirmations
    assert {found.info.status for _, found in confirmed} <= {"FINISHED", "FAILED"}

    (parent,) = run.own_runs("sweep")
    assert parent[1].info.status == "FINISHED"
    assert Counter(run.ended) == Counter([*run.planned, *(name for name, _ in confirmed)])

    for name, status in _tune_states(run):
        if name in states:  # one that was interrupted is over for Tune, and goes on elsewhere
            failed = states[name] == "FAIL"
            assert status == ("ERROR" if failed else "TERMINATED"), name


def check_artifacts(folder: Path) -> None:
    """No artifact in the store is half-written, and nothing half-written was published."""
    store = Store(folder / ".mlfd" / "store")
    assert verify_store(store) == {}
    published = list(store.root.glob("artifacts/*/*"))
    assert published
    for path in published:
        assert Artifact.open(path).key == path.name
        names = {file.relative_to(path).as_posix() for file in path.rglob("*") if file.is_file()}
        assert names == {*Artifact.open(path).manifest.files, "manifest.json"}
    assert not list(store.root.glob("work/**/out"))


def check_metrics(folder: Path, uri: str | None = None) -> None:
    """The epochs of every run in MLflow are 1, 2, ... without a gap, and none is there twice."""
    check_epochs(recorded(folder, uri))


def check_epochs(run: Recorded) -> None:
    """The epochs of all runs in MLflow, and those in the studies of one run, are there once."""
    looked_at = 0
    for found in run.runs:
        if found.data.tags["mlfd.kind"] == "sweep":
            continue
        for metric in {"val/acc1", "train/loss"} & found.data.metrics.keys():
            history = run.client.get_metric_history(found.info.run_id, metric)
            steps = sorted(point.step for point in history)
            name = found.info.run_name
            assert steps == [0] or steps == list(range(1, len(steps) + 1)), f"{name}: {steps}"
            looked_at += 1
    assert looked_at >= len(run.planned)
    for name, found in run.own_runs("trial"):
        reported = run.trials[name].intermediate_values
        history = run.client.get_metric_history(found.info.run_id, "val/acc1")
        assert {point.step: point.value for point in history} == reported, name


def check_best(folder: Path, undisturbed: Outcome, uri: str | None = None) -> None:
    """The sweep found what an undisturbed one finds, to the last bit."""
    found = outcome_of(folder, uri)
    assert found.states == undisturbed.states
    assert found.best == undisturbed.best
    assert found.confirmed == undisturbed.confirmed


@dataclass(frozen=True)
class Snapshot:
    """What is on the machine before a test: the names of blocks of shared memory."""

    shared_memory: frozenset[str]

    @classmethod
    def take(cls) -> Snapshot:
        """Look at the machine."""
        return cls(frozenset(_shared_memory()))


def check_leaks(before: Snapshot, folder: Path) -> None:
    """Nothing is left of the drivers started in a folder but what they were asked for."""
    check_gone(before, folder)
    assert not list((folder / ".mlfd" / "store" / "locks").glob("*.lock")), "locks in the store"
    half_written = [
        path
        for root in (folder / ".mlfd", folder / "runs")
        for path in root.rglob("*")
        if path.name.endswith(".tmp") or path.is_socket()
    ]
    assert half_written == []
    assert _below_all(folder.glob("runs/*/*/ray/stages")) == []


def check_gone(before: Snapshot, folder: Path) -> None:
    """Nothing of the drivers started in a folder is left on the machine, outside the folder.

    That holds also for a run that was stopped and is still to be resumed. Processes get some
    seconds to end. No other test's processes are looked at.
    """
    _wait_for_none(lambda: [" ".join(p.cmdline()) for p in marked(f"{folder}#")], "processes")
    assert _left_over(temporary_folder(folder)) == [], "temporary files"
    _wait_for_none(lambda: sorted(_unused_memory() - before.shared_memory), "shared memory")


def _tune_states(run: Recorded) -> Iterator[tuple[str, str]]:
    """Yield what Tune says last of each trial: its id and its status."""
    last: dict[str, str] = {}
    for file in sorted((run.folder / "ray" / "work").glob("experiment_state-*.json")):
        for trial, _ in json.loads(file.read_text())["trial_data"]:
            state = json.loads(trial)
            config = state["config"]
            if "params" in config:
                name = config.get("id") or f"trial/{config['dataset']}/{config['number']}"
                last[name] = state["status"]
    yield from last.items()


def _wait_for_none(look: Callable[[], list[str]], what: str) -> None:
    until = time.monotonic() + _PATIENCE_S
    while True:
        try:
            left = look()
        except psutil.Error:  # one ended as it was looked at
            continue
        if not left:
            return
        assert time.monotonic() < until, f"{what} left: {left}"
        time.sleep(0.1)


def _left_over(temporary: Path) -> list[str]:
    """Return what lies in a folder for temporary files, but for empty folders of libraries."""
    kept = ("torchinductor_root", "ray")
    return [path for path in _below(temporary) if path not in {f"{temporary}/{n}" for n in kept}]


def _below(folder: Path) -> list[str]:
    return sorted(str(path) for path in folder.rglob("*")) if folder.is_dir() else []


def _below_all(folders: Iterator[Path]) -> list[str]:
    return [path for folder in folders for path in _below(folder)]


def _shared_memory() -> Iterator[str]:
    """Yield the names of blocks, but for those of programs that no driver starts."""
    for path in _SHARED_MEMORY.iterdir():
        if path.is_file() and not path.name.startswith("PostgreSQL"):
            yield path.name


def _unused_memory() -> set[str]:
    """Return the blocks of shared memory that no living process has open or mapped."""
    names = set(_shared_memory())
    if not names:
        return names
    for process in psutil.process_iter():
        try:
            used = Path(f"/proc/{process.pid}/maps").read_text()
            used += " ".join(
                str(link.readlink()) for link in Path(f"/proc/{process.pid}/fd").iterdir()
            )
        except OSError:
            continue
        names = {name for name in names if f"{_SHARED_MEMORY}/{name}" not in used}
    return names
