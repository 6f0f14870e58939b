"""What a run needs stays, whatever garbage collection is asked to remove."""

from __future__ import annotations

import dataclasses
import json
import multiprocessing
import os
import pickle
import shutil
import threading
import time
from pathlib import Path

import pytest

from mlfd_tune.core.store import Store, collect_garbage, maintenance
from mlfd_tune.core.store.owners import LockOwner, read_owner
from mlfd_tune.core.store.pins import Pin, decided, pinned_keys
from tests.helpers.small_stages import FailingStage, NoteStage, lines, write_line

SPAWN = multiprocessing.get_context("spawn")
HOUR, DAY = 3600.0, 86400.0


@pytest.fixture
def store(tmp_path) -> Store:
    return Store(tmp_path / "store")


def age(path: Path, seconds: float) -> None:
    then = time.time() - seconds
    for file in [*path.rglob("*"), path]:
        os.utime(file, (then, then))


def publish(store: Store, text: str, unused_s: float = 3 * DAY) -> NoteStage:
    stage = NoteStage(text)
    age(store.get_or_compute(stage).path, unused_s)
    return stage


def collect_all(store: Store) -> tuple[set[str], set[str]]:
    """Ask for all to be removed; return the keys that went, and those that are needed."""
    collected = collect_garbage(Store(store.root), max_bytes=0)
    removed = {removal.path.name for removal in collected.removed}
    return removed, {removal.path.name for removal in collected.needed}


def test_what_a_run_has_asked_for_stays_until_it_ends(store):
    needed, other = publish(store, "needed"), publish(store, "other")
    with store.pin():
        store.get(needed)
        age(store.artifact_path(needed), 3 * DAY)  # the time of its use is not what keeps it
        assert collect_all(store) == ({other.key}, {needed.key})
        assert store.has(needed)
    assert collect_all(store) == ({needed.key}, set())


def test_what_was_asked_for_in_vain_is_pinned_for_when_it_is_there(store):
    stage = NoteStage("a")
    with store.pin():
        assert store.get(stage) is None
        publish(Store(store.root), "a")  # by somebody else
        assert collect_all(store) == (set(), {stage.key})


def test_what_a_run_computes_and_what_it_names_is_pinned(store):
    with store.pin() as pin:
        made = publish(store, "made")
        named = publish(Store(store.root), "named")
        pin.add([named.key])
        assert collect_all(store) == (set(), {made.key, named.key})


def test_a_paused_stage_of_a_run_keeps_its_checkpoint(store):
    stage = FailingStage("paused")
    with store.pin():
        with pytest.raises(RuntimeError):
            store.get_or_compute(stage)
        age(store.work_path(stage), 3 * DAY)
        assert collect_all(store) == (set(), {stage.key})
    age(store.work_path(stage), 3 * DAY)
    assert collect_all(store) == ({stage.key}, set())


def ask_for(store: Store, stage: NoteStage) -> None:
    store.get(stage)


def test_processes_that_work_for_a_run_pin_what_they_ask_for(store):
    stage = publish(store, "a")
    with store.pin():
        process = SPAWN.Process(target=ask_for, args=(store, stage))
        process.start()
        process.join(60)
        age(store.artifact_path(stage), 3 * DAY)
        assert collect_all(store) == (set(), {stage.key}), "though that process is gone"


def test_a_copy_of_the_store_pins_nothing_once_the_run_is_over(store):
    stage = publish(store, "a")
    with store.pin():
        copy = pickle.loads(pickle.dumps(store))
    assert copy.get(stage) is not None
    assert not list((store.root / "pins").glob("*.pin"))
    age(store.artifact_path(stage), 3 * DAY)
    assert collect_all(store) == ({stage.key}, set())


def open_a_pin(store: Store, stage: NoteStage) -> None:
    with store.pin():
        store.get(stage)
        os._exit(1)  # as killed


def test_the_pin_of_a_killed_run_holds_nothing_and_is_removed(store):
    stage = publish(store, "a")
    process = SPAWN.Process(target=open_a_pin, args=(store, stage))
    process.start()
    process.join(60)
    assert len(list((store.root / "pins").glob("*.pin"))) == 1
    age(store.artifact_path(stage), 3 * DAY)
    assert collect_all(store) == ({stage.key}, set())
    assert not list((store.root / "pins").glob("*.pin"))


def test_a_pin_from_another_host_holds_for_a_day_after_its_last_heartbeat(store):
    with Pin(store.root) as pin:
        pin.add(["a" * 64])
        content = pin.path.read_text()
        elsewhere = dataclasses.replace(read_owner(pin.path), host="elsewhere")
    path = store.root / "pins" / "theirs.pin"
    write(path, elsewhere, content)
    assert pinned_keys(store.root) == {"a" * 64}
    os.utime(path, (time.time() - 23 * HOUR,) * 2)
    assert pinned_keys(store.root) == {"a" * 64}
    os.utime(path, (time.time() - 25 * HOUR,) * 2)
    assert pinned_keys(store.root) == set()


def write(path: Path, owner: LockOwner, content: str) -> None:
    _, _, keys = content.partition("\n")
    path.write_text(json.dumps(dataclasses.asdict(owner)) + "\n" + keys)


def test_others_go_in_the_place_of_what_is_needed(store):
    needed, second = publish(store, "aaaa", 3 * DAY), publish(store, "bbbb", 2 * DAY)
    publish(store, "cccc", DAY)
    with store.pin():
        store.get(needed)
        age(store.artifact_path(needed), 3 * DAY)
        collected = collect_garbage(Store(store.root), max_bytes=10)  # 5 bytes each
        assert [one.path.name for one in collected.removed] == [second.key]
        assert [one.path.name for one in collected.needed] == [needed.key]


def test_what_is_used_between_the_choice_and_the_removal_stays(store, monkeypatch):
    """A command that runs beside it looks at an artifact at the worst moment."""
    stage = publish(store, "a")
    rmtree = shutil.rmtree
    (store.root / "damaged").mkdir()
    (store.root / "damaged" / "old").mkdir()

    def meanwhile(path, *arguments, **others):
        Store(store.root).get(stage)
        rmtree(path, *arguments, **others)

    monkeypatch.setattr(shutil, "rmtree", meanwhile)
    collected = collect_garbage(Store(store.root), max_bytes=0)
    assert [one.reason for one in collected.removed] == ["damaged"]
    assert store.has(stage)


def test_a_dry_run_tells_what_is_needed_too(store):
    stage = publish(store, "a")
    with store.pin():
        store.get(stage)
        collected = collect_garbage(Store(store.root), max_bytes=0, dry_run=True)
        assert [one.path.name for one in collected.needed] == [stage.key]
        assert collected.removed == ()


def test_what_is_pinned_between_the_choice_and_the_removal_stays(store, monkeypatch):
    stage = publish(store, "a")
    choose = maintenance.idle_since
    with store.pin() as pin:

        def and_pin(path):
            pin.add([stage.key])
            return choose(path)

        monkeypatch.setattr(maintenance, "idle_since", and_pin)
        assert collect_garbage(Store(store.root), max_bytes=0).removed == ()
        assert store.has(stage)


def test_pinning_and_removing_are_done_one_after_the_other(store):
    """Who pins while a removal is decided goes on when it is done, and finds nothing there."""
    stage = publish(store, "a")
    found = []
    with store.pin():
        with decided(store.root):
            asking = threading.Thread(target=lambda: found.append(store.get(stage)))
            asking.start()
            asking.join(0.5)
            assert found == []
            shutil.rmtree(store.artifact_path(stage))
        asking.join(20)
    assert found == [None]


class RobbedStage(NoteStage):
    """What it reads is removed while it runs, the first time."""

    name = "robbed"

    def run(self, context):
        for artifact in context.inputs.values():
            if self.spec.text in lines(self.diary):
                break
            shutil.rmtree(artifact.path)
        return super().run(context)


def test_a_stage_whose_input_is_removed_while_it_runs_is_computed_again(store, tmp_path):
    stage = RobbedStage("top", below={"x": NoteStage("below")}, diary=tmp_path / "diary.txt")
    assert store.get_or_compute(stage).manifest.metrics == {"length": 8.0}
    assert lines(stage.diary) == ["top", "top"]
    assert not list(store.root.glob("locks/*.lock"))


class DisturbedStage(NoteStage):
    """What it reads is removed and computed anew by another while it runs, the first time."""

    name = "disturbed"

    def run(self, context):
        (artifact,) = context.inputs.values()
        if self.spec.text not in lines(self.diary):
            write_line(self.diary, self.spec.text)
            shutil.rmtree(artifact.path)
            Store(artifact.path.parents[2]).get_or_compute(NoteStage("below"))
            raise FileNotFoundError("what was open is gone")
        return super().run(context)


def test_also_where_the_input_is_there_again_when_that_is_noticed(store, tmp_path):
    stage = DisturbedStage("top", below={"x": NoteStage("below")}, diary=tmp_path / "diary.txt")
    assert store.get_or_compute(stage).manifest.metrics == {"length": 8.0}
    assert lines(stage.diary) == ["top", "top"]


def test_what_a_stage_reads_stays_while_it_is_computed_though_no_run_needs_it(store):
    below = NoteStage("below")

    class GreedyStage(NoteStage):
        name = "greedy"

        def run(self, context):
            assert collect_garbage(Store(store.root), max_bytes=0).needed
            return super().run(context)

    store.get_or_compute(GreedyStage("top", below={"x": below}))
    assert store.has(below)
    assert not list(store.root.glob("pins/*.pin"))
