from __future__ import annotations

import pytest

from mlfd_tune.core.errors import UserError
from mlfd_tune.core.store import Store
from tests.helpers.small_stages import NoteStage, lines


def is_empty(store: Store) -> bool:
    return not list(store.root.glob("artifacts/*/*")) and store.used_bytes() == 0


def test_a_stage_whose_estimate_does_not_fit_is_refused_before_it_runs(tmp_path):
    store, diary = Store(tmp_path / "store", max_bytes=1000), tmp_path / "diary.txt"
    stage = NoteStage("a", estimate=1001, diary=diary)
    with pytest.raises(UserError) as caught:
        store.get_or_compute(stage)
    message = str(caught.value)
    assert message.startswith("store.max_bytes: no space left for note a: it needs 1.0 kB")
    assert "0 B of 1.0 kB are used" in message
    assert "mlfd-tune store gc" in message
    assert len(message.splitlines()) == 1
    assert lines(diary) == []
    assert is_empty(store)


def test_an_artifact_larger_than_its_estimate_is_refused_before_it_is_published(tmp_path):
    store = Store(tmp_path / "store", max_bytes=10)
    stage = NoteStage("more than ten characters")
    with pytest.raises(UserError, match="no space left"):
        store.get_or_compute(stage)
    assert is_empty(store)
    assert not (store.work_path(stage) / "out").exists()


def test_what_is_there_counts_and_what_fits_exactly_is_accepted(tmp_path):
    store = Store(tmp_path / "store", max_bytes=10)
    store.get_or_compute(NoteStage("1234"))  # and one byte that says how long it is
    assert store.used_bytes() == 5
    store.get_or_compute(NoteStage("abcd"))
    with pytest.raises(UserError, match="10 B of 10 B are used"):
        store.get_or_compute(NoteStage(""))
    assert store.used_bytes() == 10


def test_a_refused_stage_can_be_computed_once_there_is_room(tmp_path):
    stage = NoteStage("12345678", estimate=8)
    with pytest.raises(UserError):
        Store(tmp_path, max_bytes=5).get_or_compute(stage)
    assert Store(tmp_path, max_bytes=100).get_or_compute(stage).manifest.bytes == 9


def test_without_a_budget_all_fits_that_the_disk_has_room_for(tmp_path):
    Store(tmp_path).get_or_compute(NoteStage("a", estimate=10**6))
    stage = NoteStage("b", estimate=10**18)
    with pytest.raises(UserError) as caught:
        Store(tmp_path).get_or_compute(stage)
    message = str(caught.value)
    assert message.startswith(f"store.path: no space left on the disk of {tmp_path} for note b: ")
    assert "it needs 1000000.0 TB" in message
    assert len(message.splitlines()) == 1
    assert not Store(tmp_path).work_path(stage).exists()


def test_a_damaged_manifest_does_not_keep_others_from_being_counted(tmp_path):
    store = Store(tmp_path, max_bytes=1000)
    (store.get_or_compute(NoteStage("1234")).path / "manifest.json").write_text("{")
    store.get_or_compute(NoteStage("abcd"))
    assert store.used_bytes() == 5
