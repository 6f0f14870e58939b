from __future__ import annotations

import pickle
from pathlib import Path

import numpy as np
import pytest

from mlfd_tune.core.data.published.byte_pickle import read_pickle
from mlfd_tune.core.errors import UserError
from tests.helpers.layouts_cifar import write_pickle

PIXELS = np.arange(12, dtype=np.uint8).reshape(3, 4)


def error_of(path: Path) -> str:
    with pytest.raises(UserError) as caught:
        read_pickle(path, "the file")
    return str(caught.value)


def test_what_python_2_wrote_is_read_as_bytes(tmp_path):
    write_pickle(tmp_path / "batch", {"data": PIXELS, "labels": [3, 1, 2], "filenames": ["a.png"]})
    content = read_pickle(tmp_path / "batch", "the file")
    assert content[b"labels"] == [3, 1, 2]
    assert content[b"filenames"] == [b"a.png"]
    np.testing.assert_array_equal(content[b"data"].values, PIXELS)


@pytest.mark.parametrize("protocol", [0, 2, 4])
@pytest.mark.parametrize("pixels", [PIXELS, np.asfortranarray(PIXELS)])
def test_what_python_3_wrote_with_numpy_2_is_read_too(tmp_path, protocol, pixels):
    (tmp_path / "batch").write_bytes(pickle.dumps({b"data": pixels}, protocol=protocol))
    content = read_pickle(tmp_path / "batch", "the file")
    np.testing.assert_array_equal(content[b"data"].values, PIXELS)


class Runs:
    """Pickles as a call of a function."""

    def __init__(self, function, *arguments) -> None:
        self.call = function, arguments

    def __reduce__(self):
        return self.call


def test_a_command_in_a_pickle_is_refused_and_not_run(tmp_path):
    import os

    witness = tmp_path / "it_ran"
    (tmp_path / "batch").write_bytes(pickle.dumps(Runs(os.system, f"touch {witness}")))
    message = error_of(tmp_path / "batch")
    assert message.startswith(f"the file asks for {os.system.__module__}.system, which")
    assert "nothing of it was run" in message
    assert not witness.exists()


@pytest.mark.parametrize(
    "payload",
    [
        b"cbuiltins\neval\n(S'1+1'\ntR.",
        b"cnumpy\nload\n(S'/etc/hostname'\ntR.",
        b"cnumpy.core.multiarray\nfromfile\n(S'/etc/hostname'\ntR.",
        b"\x80\x04\x8c\x05numpy\x8c\x11ndarray.__class__\x93.",
        b"c__builtin__\ngetattr\n.",
    ],
)
def test_nothing_but_arrays_of_bytes_can_be_named(tmp_path, payload):
    (tmp_path / "batch").write_bytes(payload)
    assert "nothing of it was run" in error_of(tmp_path / "batch")


@pytest.mark.parametrize(
    "array", [np.zeros(2), np.zeros(2, dtype=object), np.zeros(2, dtype="U3"), np.zeros(2, ">i4")]
)
def test_arrays_of_anything_else_are_refused(tmp_path, array):
    (tmp_path / "batch").write_bytes(pickle.dumps(array, protocol=2))
    assert "no pickle that can be read (an array is not of bytes)" in error_of(tmp_path / "batch")


@pytest.mark.parametrize("name", [b"numpy\nndarray", b"numpy\ndtype", b"_codecs\nencode"])
@pytest.mark.parametrize("state", [b"}S'x'\nI1\ns", b"(N}S'__call__'\nI1\nst"])
def test_a_pickle_can_leave_nothing_behind_in_the_reader(tmp_path, name, state):
    (tmp_path / "poison").write_bytes(b"c" + name + b"\n" + state + b"b.")
    assert "no pickle that can be read" in error_of(tmp_path / "poison")


@pytest.mark.parametrize("content", [b"", b"not a pickle", b"\x80\x02}q\x00(U"])
def test_damage_is_told_with_its_cure(tmp_path, content):
    (tmp_path / "batch").write_bytes(content)
    message = error_of(tmp_path / "batch")
    assert message.startswith("the file is no pickle that can be read (")
    assert message.endswith("unpack its archive again")
