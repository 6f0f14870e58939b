"""Some stages are made of what is not in the store; who reads them reads what they are made of."""

from __future__ import annotations

import shutil

from mlfd_tune.core.store import Store, walk
from mlfd_tune.core.store.stage import read_below
from tests.helpers.small_stages import NoteStage


def chain(middle_is_stored: bool) -> tuple[NoteStage, NoteStage, NoteStage]:
    low = NoteStage("low")
    middle = NoteStage("middle", below={"low": low})
    middle.stored = middle_is_stored
    return low, middle, NoteStage("top", below={"middle": middle, "low": low})


def test_a_stage_reads_its_inputs_or_what_they_read_themselves():
    low, middle, top = chain(middle_is_stored=True)
    assert top.reads == top.inputs == {"middle": middle, "low": low}
    low, middle, top = chain(middle_is_stored=False)
    assert top.inputs == {"middle": middle, "low": low}
    assert top.reads == {"middle/low": low, "low": low}


def test_what_is_not_stored_has_the_same_key_and_gives_the_same_keys():
    stored, not_stored = chain(middle_is_stored=True), chain(middle_is_stored=False)
    assert [stage.key for stage in stored] == [stage.key for stage in not_stored]


def test_it_is_passed_over_and_what_it_is_made_of_is_computed_before_who_reads_it():
    low, middle, top = chain(middle_is_stored=False)
    assert list(walk([top])) == [low, top]
    assert list(walk([middle])) == [low]
    elsewhere = chain(middle_is_stored=True)[1]  # somebody else has it stored
    assert list(walk([top, elsewhere])) == [low, top, elsewhere]


def test_its_reader_is_given_what_it_is_made_of_and_remembers_what_it_stands_on(tmp_path):
    store = Store(tmp_path / "store")
    low, middle, top = chain(middle_is_stored=False)
    artifact = store.get_or_compute(top)
    assert store.has(low)
    assert not store.has(middle)
    assert artifact.manifest.inputs == {"middle": middle.key, "low": low.key}
    again = NoteStage("other", below={"middle": middle})
    with store.claim(again) as claim:
        given = claim.context("cpu").inputs
    assert read_below(given, "middle").keys() == {"low"}


def test_the_room_is_what_the_budget_leaves_and_the_disk_has(tmp_path):
    free = shutil.disk_usage(tmp_path).free
    assert 0 < Store(tmp_path / "not" / "there").room() < free
    store = Store(tmp_path / "store", max_bytes=1000)
    assert store.room() == 1000
    used = store.get_or_compute(NoteStage("some text")).manifest.bytes
    assert store.room() == 1000 - used
    assert Store(store.root, max_bytes=used - 1).room() == 0
