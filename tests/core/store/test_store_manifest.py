from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mlfd_tune.core.store.manifest import Manifest, decode, encode

GOOD = Manifest(
    key="a" * 64,
    stage="note",
    version=1,
    label="ä note",
    spec={"sha256": "x", "number": 0.1},
    inputs={},
    metrics={"val/acc1": 81.25},
    history=[{"val/acc1": 80.0}],
    files={"folder/note.txt": {"bytes": 3, "sha256": "0" * 64}},
    seconds=1.5,
    created=1.7e9,
    versions={"python": "3.11"},
)
WRITTEN = encode(GOOD)


def without_checksum(**changes: object) -> bytes:
    """Return a manifest as earlier versions wrote it."""
    return json.dumps(GOOD.model_dump(mode="json") | changes).encode()


def entry(**changes: object) -> dict[str, object]:
    return {"bytes": 3, "sha256": "0" * 64} | changes


def test_a_manifest_is_read_as_it_was_written():
    assert decode(WRITTEN) == GOOD
    assert json.loads(WRITTEN).keys() == {*Manifest.model_fields, "sha256"}


def test_no_flipped_bit_goes_unnoticed():
    for position in range(len(WRITTEN)):
        for bit in range(8):
            flipped = bytearray(WRITTEN)
            flipped[position] ^= 1 << bit
            with pytest.raises(ValueError, match=r".*"):
                decode(bytes(flipped))


def test_no_truncation_goes_unnoticed():
    for length in range(len(WRITTEN)):
        with pytest.raises(ValueError, match=r".*"):
            decode(WRITTEN[:length])


@given(st.binary(max_size=200))
def test_anything_else_is_no_manifest(data):
    with pytest.raises(ValueError, match=r".*"):
        decode(data)


def test_manifests_without_a_checksum_are_of_earlier_versions():
    assert decode(without_checksum()) == GOOD
    with pytest.raises(ValueError, match="its checksum is wrong"):
        decode(without_checksum(sha255="0" * 64))


def test_a_later_version_may_have_added_something():
    later = json.loads(WRITTEN)
    del later["sha256"]

    class Later(Manifest):
        added: str = "new"

    assert decode(encode(Later(**later))) == GOOD


@pytest.mark.parametrize("name", ["../note.txt", "/etc/passwd", "a/../../b", "..", ".", "", "a//b"])
def test_no_file_lies_outside_the_artifact(name):
    with pytest.raises(ValueError, match="is no file of the artifact"):
        decode(without_checksum(files={name: entry()}))


@pytest.mark.parametrize(
    "wrong",
    [
        {"bytes": -1},
        {"bytes": 1.5},
        {"bytes": float("nan")},
        {"bytes": float("inf")},
        {"bytes": None},
        {"sha256": "0" * 63},
        {"sha256": "G" * 64},
        {"sha256": "0" * 64 + "\n"},
    ],
)
def test_sizes_and_checksums_are_what_they_are_called(wrong):
    with pytest.raises(ValueError, match=r".*"):
        decode(without_checksum(files={"a": entry(**wrong)}))
