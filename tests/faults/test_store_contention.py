"""Many processes that need many stages at once, some of which are killed or stopped."""

from __future__ import annotations

import multiprocessing
import os
import random
import signal
import time
from collections import Counter
from collections.abc import Callable
from multiprocessing.context import SpawnProcess
from pathlib import Path

import pytest

from mlfd_tune.core.store import LostClaimError, Store, locks, verify_store
from tests.helpers.faults.record import Held
from tests.helpers.small_stages import NoteStage, StepsStage, lines

SPAWN = multiprocessing.get_context("spawn")


def stage_of(number: int, diary: Path) -> NoteStage:
    """Return one of many stages; those of odd numbers read one of even number."""
    below = {"x": stage_of(number - 1, diary)} if number % 2 else None
    return NoteStage(f"[{number}]", below=below, diary=diary, seconds=0.05)


def compute_all(root: Path, diary: Path, keys: int, seed: int, barrier, results) -> None:
    store = Store(root)
    order = list(range(keys))
    random.Random(seed).shuffle(order)
    if barrier is not None:
        barrier.wait()
    found = {}
    for number in order:
        artifact = store.get_or_compute(stage_of(number, diary))
        found[number] = (artifact.key, (artifact.path / "note.txt").read_text())
    results.put((seed, found))


def start(root: Path, diary: Path, keys: int, seed: int, barrier, results) -> SpawnProcess:
    process = SPAWN.Process(target=compute_all, args=(root, diary, keys, seed, barrier, results))
    process.start()
    return process


def check_contended(folder: Path, processes: int, keys: int, held: Held) -> None:
    root, diary = folder / "store", folder / "diary.txt"
    barrier, results = SPAWN.Barrier(processes), SPAWN.Queue()
    running = [start(root, diary, keys, seed, barrier, results) for seed in range(processes)]
    answers = dict(results.get(timeout=240) for _ in running)
    for process in running:
        process.join(60)
    with held("artifacts"):
        assert Counter(lines(diary)) == Counter(f"[{number}]" for number in range(keys))
        assert len(answers) == processes
        assert all(answer == answers[0] for answer in answers.values())
        assert verify_store(Store(root)) == {}
    check_tidy(root, held)


def check_tidy(root: Path, held: Held) -> None:
    with held("leaks"):
        assert not list((root / "locks").glob("*.lock"))
        assert not list((root / "work").iterdir())
        assert not list(root.rglob("*.tmp"))


def test_many_processes_that_need_many_stages_compute_each_once(tmp_path: Path, held: Held) -> None:
    held.fault = "processes contend for stages"
    check_contended(tmp_path, 8, 20, held)


@pytest.mark.whole_matrix
def test_16_processes_compute_50_stages_once_each(tmp_path: Path, held: Held) -> None:
    held.fault = "processes contend for stages"
    check_contended(tmp_path, 16, 50, held)


@pytest.mark.whole_matrix
@pytest.mark.parametrize("seed", range(3))
def test_contending_processes_that_are_killed_leave_all_to_the_others(
    tmp_path: Path, seed: int, held: Held
) -> None:
    held.fault = "contending processes killed at random"
    root, diary, keys = tmp_path / "store", tmp_path / "diary.txt", 50
    draws, results = random.Random(seed), SPAWN.Queue()
    running = [start(root, diary, keys, number, None, results) for number in range(16)]
    doomed = running[:8]
    until(lambda: len(lines(diary)) > 3)
    for process in doomed:
        time.sleep(draws.uniform(0.0, 0.3))
        process.kill()
    for process in running:
        process.join(240)
    answers = {}
    while len(answers.keys() & set(range(8, 16))) < 8:
        number, found = results.get(timeout=60)
        answers[number] = found
    with held("artifacts", "goes on"):
        times = Counter(lines(diary))
        assert times.keys() == {f"[{number}]" for number in range(keys)}
        assert sum(times.values()) <= keys + len(doomed), "only what was killed is done again"
        assert all(answer == answers[8] for answer in answers.values())
        assert verify_store(Store(root)) == {}
        for number in range(keys):  # who comes next clears after who was killed in the last moment
            assert Store(root).get(stage_of(number, diary)) is not None
    check_tidy(root, held)


def until(condition: Callable[[], object], seconds: float = 60.0) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.01)


class SlowSteps(StepsStage):
    """Waits at the step `stop_at` until a file appears."""

    def __init__(self, diary: Path, gate: Path | None = None) -> None:
        super().__init__("a", diary)
        self.gate = gate

    def run(self, context):
        (context.work / "mine.txt").write_text(str(os.getpid()))
        (context.out / "half.txt").write_text("half")
        while self.gate is not None and not self.gate.exists():
            time.sleep(0.02)
        (context.work / "checkpoint.txt").write_text(str(os.getpid()))
        result = super().run(context)
        (context.out / "half.txt").unlink()
        return result


def compute_behind_a_gate(root: Path, diary: Path, gate: Path, results) -> None:
    artifact = Store(root).get_or_compute(SlowSteps(diary, gate))
    results.put((os.getpid(), artifact.manifest.created, artifact.damage()))


def publish_behind_a_gate(root: Path, diary: Path, gate: Path, results) -> None:
    store = Store(root)
    stage = SlowSteps(diary)
    with store.claim(stage) as claim:
        result = stage.run(claim.context("cpu"))
        (root / "ready").touch()
        until(gate.exists)
        try:
            artifact = claim.publish(result)
        except LostClaimError:  # nobody has published it yet
            artifact = store.get_or_compute(stage)
    results.put((os.getpid(), artifact.manifest.created, artifact.damage()))


@pytest.mark.parametrize(
    ("program", "fault"),
    [
        (compute_behind_a_gate, "owner of a stage frozen while it computes, woken later"),
        (publish_behind_a_gate, "owner of a stage frozen before it publishes, woken later"),
    ],
)
@pytest.mark.parametrize("woken", ["after", "while"])
def test_a_frozen_owner_loses_its_stage_and_harms_nobody_when_it_wakes_up(
    tmp_path: Path,
    program: Callable[..., None],
    fault: str,
    woken: str,
    held: Held,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """It wakes up after the other has published the stage, or while the other computes it."""
    held.fault = fault
    monkeypatch.setattr(locks.HeartbeatLock.__init__, "__defaults__", (1.0, 600.0))
    root, diary, gate = tmp_path / "store", tmp_path / "diary.txt", tmp_path / "gate"
    results = SPAWN.Queue()
    process = SPAWN.Process(target=program, args=(root, diary, gate, results))
    process.start()
    store, stage = Store(root), SlowSteps(diary)
    begun = "*/out/half.txt" if program is compute_behind_a_gate else "../../ready"
    until(lambda: list(store.work_path(stage).glob(begun)))
    os.kill(process.pid, signal.SIGSTOP)
    gate.touch()
    try:
        with held("goes on"):
            if woken == "after":
                artifact = store.get_or_compute(stage)
            else:
                with store.claim(stage) as claim:
                    assert (claim.work / "mine.txt").read_text() == str(process.pid), "gone on from"
                    context = claim.context("cpu")
                    os.kill(process.pid, signal.SIGCONT)
                    time.sleep(2.0)  # for whatever harm it can do
                    assert not list(context.out.iterdir())
                    assert claim.held
                    artifact = claim.publish(stage.run(context))
            assert artifact.damage() is None
    finally:
        os.kill(process.pid, signal.SIGCONT)
    who, created, damage = results.get(timeout=60)
    process.join(60)
    with held("artifacts"):
        assert (who, damage) == (process.pid, None)
        assert created == artifact.manifest.created, "it took what the other had published"
        assert process.exitcode == 0
        assert verify_store(Store(root)) == {}
        assert not list(root.glob("damaged/*"))
    check_tidy(root, held)
