from __future__ import annotations

import hashlib
import json

from hypothesis import given
from hypothesis import strategies as st

from tests.helpers.small_stages import NewerNoteStage, NoteStage, SecondNoteStage

numbers = st.floats(allow_nan=False, allow_infinity=False)
specs = st.fixed_dictionaries(
    {
        "text": st.text(max_size=5),
        "number": numbers,
        "tags": st.dictionaries(st.text(max_size=3), numbers, max_size=3),
    }
)


@given(specs, specs)
def test_keys_are_equal_exactly_when_the_specs_are(one, other):
    same_key = NoteStage(**one).key == NoteStage(**other).key
    assert same_key == (one == other)


@given(specs)
def test_the_order_of_a_mapping_is_not_part_of_the_key(spec):
    turned = {**spec, "tags": dict(reversed(list(spec["tags"].items())))}
    assert NoteStage(**turned).key == NoteStage(**spec).key


def test_the_stages_name_and_code_version_are_part_of_the_key():
    keys = {kind("a").key for kind in (NoteStage, SecondNoteStage, NewerNoteStage)}
    assert len(keys) == 3


def test_inputs_are_part_of_the_key_by_content_and_by_name(tmp_path):
    a, b = NoteStage("a"), NoteStage("b")
    keys = [
        NoteStage("top").key,
        NoteStage("top", below={"x": a}).key,
        NoteStage("top", below={"x": b}).key,
        NoteStage("top", below={"y": a}).key,
        NoteStage("top", below={"x": a, "y": b}).key,
        NoteStage("top", below={"x": b, "y": a}).key,
        NoteStage("top", below={"x": NoteStage("a", below={"z": b})}).key,
    ]
    assert len(set(keys)) == len(keys)
    assert NoteStage("top", below={"x": NoteStage("a")}).key == keys[1]
    assert NoteStage("top", below={"y": b, "x": a}).key == keys[4]


def test_what_does_not_change_the_result_is_not_part_of_the_key(tmp_path):
    plain = NoteStage("a").key
    assert NoteStage("a", diary=tmp_path / "diary", seconds=3.0, estimate=9).key == plain


def test_the_key_is_the_sha256_of_a_canonical_json_that_stays_what_it_is():
    below = NoteStage("b")
    stage = NoteStage("ä", number=-0.0, tags={"z": 1e-7, "a": 2.0}, below={"x": below})
    text = (
        '{"inputs":{"x":"' + below.key + '"},'
        '"spec":{"number":0.0,"tags":{"a":2.0,"z":1e-07},"text":"\\u00e4"},'
        '"stage":"note","version":1}'
    )
    assert stage.key == hashlib.sha256(text.encode()).hexdigest()
    assert json.loads(text)["spec"]["text"] == "ä"
    assert NoteStage("a").key == "4fcfaccbd951a0f565ed345f61904179a115947460e2e4e88df6e01ac7fe7f57"
