from __future__ import annotations

import dataclasses
import json
import os
import time

import pytest

from mlfd_tune.core.store import HeartbeatLock, Store, collect_garbage, list_artifacts, verify_store
from mlfd_tune.core.store.locks import read_owner
from mlfd_tune.core.store.maintenance import Collected
from tests.helpers.small_stages import FailingStage, NoteStage, SecondNoteStage

HOUR, DAY = 3600.0, 86400.0


@pytest.fixture
def store(tmp_path) -> Store:
    return Store(tmp_path / "store")


def publish(store: Store, text: str, unused_s: float = 0.0, kind: type[NoteStage] = NoteStage):
    """Publish an artifact of ``len(text) + 1`` bytes, last used some time ago."""
    artifact = store.get_or_compute(kind(text))
    age(artifact.path, unused_s)
    return artifact


def age(path, seconds: float) -> None:
    then = time.time() - seconds
    for file in [*path.rglob("*"), path]:
        os.utime(file, (then, then))


def texts(store: Store) -> set[str]:
    return {(artifact.path / "note.txt").read_text() for artifact in list_artifacts(store)}


def abandon(store: Store, seconds: float) -> FailingStage:
    """Leave a stage unfinished, some time ago."""
    stage = FailingStage("unfinished")
    with pytest.raises(RuntimeError):
        store.get_or_compute(stage)
    age(store.work_path(stage), seconds)
    return stage


def nothing_collected(store: Store) -> bool:
    return collect_garbage(store) == Collected((), ())


def test_artifacts_are_listed_by_stage_and_age(store):
    publish(store, "second", kind=SecondNoteStage)
    publish(store, "old")
    publish(store, "new")
    broken = publish(store, "broken")
    (broken.path / "manifest.json").write_text("{")
    found = [(a.manifest.stage, a.manifest.spec["text"]) for a in list_artifacts(store)]
    assert found == [("note", "old"), ("note", "new"), ("second_note", "second")]


def test_verify_names_every_damaged_artifact_and_what_is_wrong_with_it(store):
    sound, torn = publish(store, "sound"), publish(store, "torn")
    broken, bare = publish(store, "broken"), publish(store, "bare")
    assert verify_store(store) == {}
    (torn.path / "note.txt").write_text("t0rn")
    (broken.path / "manifest.json").write_text("{")
    (bare.path / "manifest.json").unlink()
    assert verify_store(store) == {
        torn.key: "note.txt has a wrong checksum",
        broken.key: "its manifest cannot be read",
        bare.key: "it has no manifest",
    }
    assert sound.path.is_dir()
    assert torn.path.is_dir(), "verify changes nothing"


def test_gc_removes_no_artifact_unless_asked_to(store):
    publish(store, "ancient", 1000 * DAY)
    assert nothing_collected(store)
    assert texts(store) == {"ancient"}


def test_gc_removes_the_least_recently_used_until_the_rest_fits(store):
    for text, unused in (("aaaa", 1 * HOUR), ("bbbb", 3 * HOUR), ("cccc", 2 * HOUR)):
        publish(store, text, unused)  # 5 bytes each
    removed = collect_garbage(store, max_bytes=9).removed
    assert texts(store) == {"aaaa"}
    assert [(removal.bytes, removal.reason) for removal in removed] == [
        (5, "least recently used, over the size asked for")
    ] * 2
    assert not any(removal.path.exists() for removal in removed)
    assert store.used_bytes() == 5


def test_using_an_artifact_keeps_it_from_being_the_next_to_go(store):
    for text, unused in (("aaaa", 3 * HOUR), ("bbbb", 2 * HOUR)):
        publish(store, text, unused)
    store.get(NoteStage("aaaa"))  # the same store object as computed it
    collect_garbage(store, max_bytes=5)
    assert texts(store) == {"aaaa"}


def test_gc_removes_what_was_not_used_for_longer_than_asked(store):
    publish(store, "old", 3 * DAY)
    publish(store, "new", 1 * DAY)
    removed = collect_garbage(store, older_than_s=2 * DAY).removed
    assert texts(store) == {"new"}
    assert [removal.reason for removal in removed] == ["not used for 3.0 days"]


def test_age_and_size_together_count_what_age_removes(store):
    publish(store, "aaaa", 3 * DAY)
    publish(store, "bbbb", 1 * HOUR)
    collect_garbage(store, older_than_s=2 * DAY, max_bytes=5)
    assert texts(store) == {"bbbb"}


def test_a_dry_run_says_what_would_go_and_leaves_it(store):
    publish(store, "old", 3 * DAY)
    abandon(store, 2 * DAY)
    would = collect_garbage(store, older_than_s=DAY, dry_run=True).removed
    assert all(removal.path.exists() for removal in would)
    assert len(would) == 2
    assert collect_garbage(store, older_than_s=DAY).removed == would
    assert not any(removal.path.exists() for removal in would)
    assert list((store.root / "damaged").iterdir()) == []


def test_gc_always_removes_damaged_artifacts(store):
    (publish(store, "torn").path / "note.txt").write_text("t")
    assert Store(store.root).get(NoteStage("torn")) is None
    removed = collect_garbage(store).removed
    assert [removal.reason for removal in removed] == ["damaged"]
    assert removed[0].bytes > 0
    assert list((store.root / "damaged").iterdir()) == []


def test_gc_removes_work_left_alone_for_a_day_but_not_a_pause(store):
    stage = abandon(store, 0.9 * DAY)
    assert nothing_collected(store)
    age(store.work_path(stage), 1.1 * DAY)
    (removal,) = collect_garbage(store).removed
    assert removal.path == store.work_path(stage)
    assert removal.reason == "unfinished and left alone for a day"
    assert not removal.path.exists()


def test_gc_leaves_work_whose_owner_lives_here_or_beats_elsewhere(store):
    stage = abandon(store, 3 * DAY)
    path = store.root / "locks" / f"{stage.key}.lock"
    lock = HeartbeatLock(path)
    lock.acquire()
    os.utime(path, (0, 0))
    assert nothing_collected(store)
    elsewhere = dataclasses.replace(read_owner(path), host="elsewhere")
    lock.release()
    path.write_text(json.dumps(dataclasses.asdict(elsewhere)))
    assert nothing_collected(store)
    os.utime(path, (0, 0))
    assert len(collect_garbage(store).removed) == 1, "no heartbeat for a day"


def test_what_was_collected_is_computed_anew_without_a_warning(store, caplog):
    publish(store, "a", 3 * DAY)
    collect_garbage(store, older_than_s=DAY)
    assert not store.has(NoteStage("a"))
    store.get_or_compute(NoteStage("a"))
    assert caplog.text == ""
