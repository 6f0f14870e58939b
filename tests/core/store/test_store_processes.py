"""The store's promises between real processes."""

from __future__ import annotations

import multiprocessing
import os
import signal
import time
from pathlib import Path

import pytest

from mlfd_tune.core.store import Store
from tests.helpers.small_stages import NoteStage, StepsStage, lines

SPAWN = multiprocessing.get_context("spawn")


def compute_together(root: Path, diary: Path, barrier, results) -> None:
    barrier.wait()
    waited = []
    below = NoteStage("below", diary=diary, seconds=0.3)
    stage = NoteStage("top", below={"x": below}, diary=diary, seconds=1.5)
    artifact = Store(root).get_or_compute(stage, on_wait=lambda *who: waited.append(who))
    results.put((artifact.key, (artifact.path / "note.txt").read_text(), len(waited)))


def compute_until_killed(root: Path, diary: Path) -> None:
    Store(root).get_or_compute(StepsStage("a", diary, stop_at=3))


def wait_for(condition, seconds: float = 30.0) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.02)


def test_processes_that_need_a_stage_at_once_compute_it_once(tmp_path):
    root, diary = tmp_path / "store", tmp_path / "diary.txt"
    barrier, results = SPAWN.Barrier(2), SPAWN.Queue()
    processes = [
        SPAWN.Process(target=compute_together, args=(root, diary, barrier, results))
        for _ in range(2)
    ]
    for process in processes:
        process.start()
    answers = [results.get(timeout=60) for _ in processes]
    for process in processes:
        process.join(30)
    assert lines(diary) == ["below", "top"]
    (key, text, _), (other_key, other_text, _) = answers
    assert (key, text) == (other_key, other_text)
    assert text == "belowtop"
    assert sorted(waited > 0 for *_, waited in answers) == [False, True]
    assert list((root / "work").iterdir()) == []


@pytest.mark.parametrize("buried", [True, False], ids=["reaped", "zombie"])
def test_a_killed_owner_is_replaced_at_once_and_its_checkpoint_is_gone_on_from(tmp_path, buried):
    root, diary = tmp_path / "store", tmp_path / "diary.txt"
    process = SPAWN.Process(target=compute_until_killed, args=(root, diary))
    process.start()
    wait_for(lambda: len(lines(diary)) == 3)
    store, stage = Store(root), StepsStage("a", diary)
    wait_for((store.work_path(stage) / "out" / "half.txt").exists)
    os.kill(process.pid, signal.SIGKILL)
    if buried:
        process.join(30)
    started = time.monotonic()
    artifact = store.get_or_compute(stage)
    assert time.monotonic() - started < 5
    assert lines(diary) == [f"step {step}" for step in range(1, 6)]
    assert artifact.manifest.metrics == {"resumed_after": 3.0}
    assert not (artifact.path / "step.txt").exists()
    process.join(30)


def test_an_owner_that_lost_its_lock_publishes_nothing_and_leaves_the_new_owner_alone(tmp_path):
    store, stage = Store(tmp_path), NoteStage("a")
    lost = store.claim(stage)
    result = stage.run(lost.context("cpu"))
    (store.root / "locks" / f"{stage.key}.lock").unlink()
    with store.claim(stage) as owner:
        context = owner.context("cpu")
        own_result = stage.run(context)
        files = sorted(context.out.rglob("*"))
        with pytest.raises(RuntimeError, match="lost the lock on note a"):
            lost.publish(result)
        lost.release()
        assert sorted(context.out.rglob("*")) == files
        owner.publish(own_result)
    assert Store(tmp_path).get(stage) is not None, "sound, as another process sees it"
