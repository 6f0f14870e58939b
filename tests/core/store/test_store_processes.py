"""The store's promises between real processes."""

from __future__ import annotations

import multiprocessing
import os
import shutil
import signal
import time
from pathlib import Path

import pytest

from mlfd_tune.core.store import Store
from mlfd_tune.core.store.locks import DEAD_AFTER_S
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
    store, stage = Store(root), StepsStage("a", diary)
    work = store.work_path(stage)
    wait_for(lambda: [file.read_text() for file in work.glob("*/step.txt")] == ["3"])
    wait_for(lambda: list(work.glob("*/out/half.txt")))
    os.kill(process.pid, signal.SIGKILL)
    if buried:
        process.join(30)
    started = time.monotonic()
    artifact = store.get_or_compute(stage)
    assert time.monotonic() - started < DEAD_AFTER_S
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


def test_who_takes_a_stage_over_fences_the_other_off_and_goes_on_from_its_checkpoint(tmp_path):
    store, stage = Store(tmp_path), NoteStage("a")
    lost = store.claim(stage)
    context = lost.context("cpu")
    (lost.work / "checkpoint.txt").write_text("kept")
    (lost.work / ".checkpoint.txt.123.tmp").write_text("half")
    (context.out / "half.txt").write_text("half")
    (store.root / "locks" / f"{stage.key}.lock").unlink()
    with store.claim(stage) as owner:
        assert {path.name for path in owner.work.iterdir()} == {"checkpoint.txt"}
        assert not lost.held
        assert not lost.work.exists()
        for folder in (lost.work, context.out):
            with pytest.raises(FileNotFoundError):
                (folder / "checkpoint.txt").write_text("of who has lost it")
        assert (owner.work / "checkpoint.txt").read_text() == "kept"
        owner.publish(stage.run(owner.context("cpu")))
    lost.release()


def test_who_finds_the_artifact_published_meanwhile_takes_it(tmp_path):
    """Both hold the lock, as where one was stopped between looking at it and the last step."""
    store, stage = Store(tmp_path), NoteStage("a")
    claim = store.claim(stage)
    result = stage.run(claim.context("cpu"))
    other = Store(tmp_path / "other").get_or_compute(stage)
    shutil.copytree(other.path, store.artifact_path(stage))
    assert claim.publish(result).manifest.created == other.manifest.created
    claim.release()
    assert Store(tmp_path).get(stage) is not None
    assert not store.work_path(stage).joinpath("out").exists()


def publish_and_die(root: Path) -> None:
    stage = NoteStage("a")
    claim = Store(root).claim(stage)
    claim.publish(stage.run(claim.context("cpu")))
    os._exit(1)


def test_the_lock_of_who_died_just_after_publishing_is_cleared_by_the_next(tmp_path):
    process = SPAWN.Process(target=publish_and_die, args=(tmp_path,))
    process.start()
    process.join(60)
    assert list(tmp_path.glob("locks/*.lock"))
    assert Store(tmp_path).get(NoteStage("a")) is not None
    assert not list(tmp_path.glob("locks/*.lock"))
