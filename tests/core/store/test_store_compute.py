from __future__ import annotations

import json
import logging
import os
import pickle
import shutil

import pytest

from mlfd_tune.core.errors import UserError
from mlfd_tune.core.store import Store, walk
from mlfd_tune.core.store import store as store_module
from tests.helpers.small_stages import FailingStage, NoteStage, lines


@pytest.fixture
def store(tmp_path) -> Store:
    return Store(tmp_path / "store")


@pytest.fixture
def diary(tmp_path):
    return tmp_path / "diary.txt"


def published(store: Store) -> list[str]:
    return sorted(path.parent.name for path in store.root.glob("artifacts/*/*/manifest.json"))


def test_a_stage_is_computed_once_and_found_again(store, diary):
    first = store.get_or_compute(NoteStage("a", diary=diary))
    again = store.get_or_compute(NoteStage("a", diary=diary))
    elsewhere = Store(store.root).get_or_compute(NoteStage("a", diary=diary))
    assert lines(diary) == ["a"]
    assert first == again == elsewhere
    assert (first.path / "note.txt").read_text() == "a"


def test_inputs_are_computed_first_and_a_shared_one_once(store, diary):
    trunk = NoteStage("trunk ", diary=diary)
    left = NoteStage("left ", below={"x": trunk}, diary=diary)
    right = NoteStage("right ", below={"x": trunk}, diary=diary)
    top = NoteStage("top", below={"a": left, "b": right}, diary=diary)
    artifact = store.get_or_compute(top)
    assert lines(diary) == ["trunk ", "left ", "right ", "top"]
    assert (artifact.path / "note.txt").read_text() == "trunk left trunk right top"


def test_walk_yields_every_stage_once_and_inputs_before_their_readers(store):
    trunk = NoteStage("trunk")
    twin = NoteStage("trunk")
    left, right = NoteStage("l", below={"x": trunk}), NoteStage("r", below={"x": twin})
    order = [
        stage.spec.text
        for stage in walk([right, NoteStage("top", below={"a": left, "b": right}), left])
    ]
    assert order == ["trunk", "r", "l", "top"]


def test_a_stage_may_be_computed_on_any_device_and_is_the_same_artifact(store, diary):
    store.get_or_compute(NoteStage("a", diary=diary), device="cpu")
    store.get_or_compute(NoteStage("a", diary=diary), device="cuda:1")
    assert lines(diary) == ["a"]


def test_the_manifest_tells_what_the_artifact_is_and_where_it_came_from(store):
    below = NoteStage("be")
    stage = NoteStage("low", below={"x": below}, number=0.5, tags={"beta": 0.2})
    manifest = store.get_or_compute(stage).manifest
    assert manifest.key == stage.key
    assert (manifest.stage, manifest.version, manifest.label) == ("note", 1, "note low")
    assert manifest.dataset == "diary"
    assert manifest.spec == {"text": "low", "number": 0.5, "tags": {"beta": 0.2}}
    assert manifest.inputs == {"x": below.key}
    assert manifest.metrics == {"length": 5.0}
    assert manifest.history == [{"step": 1.0}, {"step": 2.0}]
    assert set(manifest.files) == {"note.txt", "folder/length.txt"}
    assert manifest.bytes == len("below") + len("5")
    assert {"python", "torch", "timm", "numpy"} <= set(manifest.versions)
    on_disk = json.loads((store.artifact_path(stage) / "manifest.json").read_text())
    assert len(on_disk.pop("sha256")) == 64
    assert on_disk == manifest.model_dump(mode="json")


def test_nothing_is_visible_before_the_artifact_is_complete(store):
    stage = NoteStage("a")
    with store.claim(stage) as claim:
        context = claim.context("cpu")
        result = stage.run(context)
        assert (context.out / "note.txt").exists()
        assert store.get(stage) is None
        assert not store.has(stage)
        assert not store.artifact_path(stage).exists()
        claim.publish(result)
        assert store.has(stage)
    assert store.get(stage) is not None
    assert not claim.work.exists()


def test_a_crash_publishes_nothing_and_leaves_the_checkpoint_to_the_next_attempt(store):
    stage = FailingStage("a", seconds=0.2)
    with pytest.raises(RuntimeError, match="half way"):
        store.get_or_compute(stage)
    assert published(store) == []
    work = store.work_path(stage)
    (checkpoint,) = work.rglob("checkpoint.txt")
    assert checkpoint.read_text() == "kept"
    assert not list(work.rglob("half.txt")), "half an artifact takes no room"
    stage.fails = False
    artifact = store.get_or_compute(stage)
    assert (artifact.path / "note.txt").read_text() == "a"
    assert not work.exists()
    assert artifact.manifest.seconds >= 0.2 + 0.4, "the failed attempt's time counts"


def test_a_claim_on_a_published_stage_has_nothing_to_compute(store):
    stage = NoteStage("a")
    made = store.get_or_compute(stage)
    with store.claim(stage) as claim:
        assert claim.artifact == made
    assert not store.work_path(stage).exists()


def test_a_claim_needs_its_inputs_in_the_store(store):
    stage = NoteStage("top", below={"x": NoteStage("below")})
    with store.claim(stage) as claim, pytest.raises(LookupError, match="needs note below first"):
        claim.context("cpu")


def test_every_attempt_starts_with_an_empty_output_folder(store):
    stage = NoteStage("a")
    with store.claim(stage) as claim:
        (claim.context("cpu").out / "left_over.txt").write_text("x")
        assert list(claim.context("cpu").out.iterdir()) == []


def test_progress_is_passed_on(store):
    seen = []
    store.get_or_compute(
        NoteStage("a"), progress=lambda fraction, text: seen.append((fraction, text))
    )
    assert seen == [(1.0, "written")]


def flip_a_byte(path):
    file = path / "note.txt"
    content = bytearray(file.read_bytes())
    content[0] ^= 1
    file.write_bytes(content)


def truncate(path):
    (path / "note.txt").write_bytes(b"")


def remove_a_file(path):
    (path / "folder" / "length.txt").unlink()


def break_the_manifest(path):
    (path / "manifest.json").write_text('{"key": ')


def change_the_manifests_form(path):
    (path / "manifest.json").write_text("[]")


def remove_the_manifest(path):
    (path / "manifest.json").unlink()


def add_a_file(path):
    (path / "extra.txt").write_text("x")


def add_a_link(path):
    (path / "link").symlink_to("..")


def put_a_link_in_place(path):
    kept = path.parents[2] / "kept.txt"
    shutil.move(path / "note.txt", kept)
    (path / "note.txt").symlink_to(kept)


def put_a_link_in_the_folders_place(path):
    kept = path.parents[2] / "kept"
    shutil.move(path, kept)
    path.symlink_to(kept)


def change_a_metric(path):
    file = path / "manifest.json"
    file.write_text(file.read_text().replace('"length": 1.0', '"length": 9.0'))


def take_anothers_place(path):
    other = Store(path.parents[2]).get_or_compute(NoteStage("another"))
    shutil.rmtree(path)
    shutil.copytree(other.path, path)


@pytest.mark.parametrize(
    ("damage", "reason"),
    [
        (flip_a_byte, "note.txt has a wrong checksum"),
        (truncate, "note.txt has 0 bytes instead of 1"),
        (remove_a_file, "folder/length.txt is missing"),
        (break_the_manifest, "its manifest cannot be read"),
        (change_the_manifests_form, "its manifest cannot be read"),
        (remove_the_manifest, "it has no manifest"),
        (change_a_metric, "its manifest cannot be read"),
        (add_a_file, "extra.txt does not belong to it"),
        (add_a_link, "link does not belong to it"),
        (put_a_link_in_place, "note.txt is a link or a device instead of a file"),
        (put_a_link_in_the_folders_place, "it is no folder"),
        (take_anothers_place, "its manifest is that of"),
    ],
)
def test_a_damaged_artifact_is_set_aside_with_a_warning_and_computed_anew(
    store, diary, caplog, damage, reason
):
    stage = NoteStage("a", diary=diary)
    path = store.get_or_compute(stage).path
    damage(path)
    with caplog.at_level(logging.WARNING):
        artifact = Store(store.root).get_or_compute(stage)  # as another process finds it
    assert lines(diary) == ["a", "a"]
    assert (artifact.path / "note.txt").read_text() == "a"
    assert artifact.damage() is None
    assert reason in caplog.text
    assert len(list((store.root / "damaged").iterdir())) == 1
    assert Store(store.root).get(stage) == artifact


def test_a_process_looks_again_at_what_was_written_to_since_it_verified_it(store):
    store.get_or_compute(NoteStage("a"))
    reader = Store(store.root)
    flip_a_byte(reader.get(NoteStage("a")).path)
    assert reader.get(NoteStage("a")) is None


def test_what_changed_under_an_old_time_is_found_by_the_next_process(store):
    file = store.get_or_compute(NoteStage("a")).path / "note.txt"
    reader = Store(store.root)
    reader.get(NoteStage("a"))
    then = file.stat().st_mtime_ns
    flip_a_byte(file.parent)
    os.utime(file, ns=(then, then))
    assert reader.get(NoteStage("a")) is not None
    assert Store(store.root).get(NoteStage("a")) is None


def test_a_sound_store_warns_of_nothing(store, caplog):
    store.get_or_compute(NoteStage("a"))
    Store(store.root).get_or_compute(NoteStage("a"))
    assert caplog.text == ""


def test_a_store_travels_to_another_process_by_its_folder_and_budget(store):
    store.get_or_compute(NoteStage("a"))
    limited = Store(store.root, max_bytes=10)
    copy = pickle.loads(pickle.dumps(limited))
    assert (copy.root, copy.max_bytes) == (limited.root, 10)
    assert copy.get(NoteStage("a")) is not None


def test_a_store_that_cannot_be_made_is_the_users_error(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match=r"store\.path: cannot make .*file"):
        Store(tmp_path / "file")


def test_what_another_process_has_mended_meanwhile_is_not_set_aside(store, monkeypatch):
    stage = NoteStage("a")
    path = store.get_or_compute(stage).path
    sound = store.root / "sound"
    shutil.copytree(path, sound)
    flip_a_byte(path)
    judge = store_module.examine

    def slowly(*arguments):
        verdict = judge(*arguments)
        if sound.exists():  # in the time that this takes
            path.rename(store.root / "set aside by another")
            sound.rename(path)
        return verdict

    monkeypatch.setattr(store_module, "examine", slowly)
    reader = Store(store.root)
    assert reader.get(stage) is None
    assert reader.get(stage) is not None
    assert not (store.root / "damaged").exists()
