"""Text from outside, made fit for terminals, JSON and spreadsheets."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mlfd_tune.core.printable import csv_cell, printable, printable_json


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("plain", "plain"),
        ("Ähre · 犬 🐕‍🦺", "Ähre · 犬 🐕‍🦺"),
        ("\x1b[31mred", "\\x1b[31mred"),
        ("\x1b]8;;http://evil\x07link", "\\x1b]8;;http://evil\\x07link"),
        ("\x9b31m", "\\x9b31m"),
        ("a\rb\nc\td", "a\\rb\\nc\\td"),
        ("\x00\x7f", "\\x00\\x7f"),
        ("\u202egnp.exe", "\\u202egnp.exe"),
        ("\u2066x\u2069", "\\u2066x\\u2069"),
        ("\ufeffx\u200b", "\\ufeffx\\u200b"),
        ("file\udcff", "file\\udcff"),
        ("\U000e0041", "\\U000e0041"),
    ],
)
def test_what_would_steer_a_terminal_is_written_out(text: str, shown: str) -> None:
    assert printable(text) == shown


@given(st.text(st.characters(codec=None)))
def test_the_result_can_always_be_printed_in_one_line(text: str) -> None:
    shown = printable(text)

    shown.encode()
    assert len(shown.splitlines()) <= 1
    assert printable(shown) == shown
    assert all(ord(character) >= 0x20 and not 0x7F <= ord(character) < 0xA0 for character in shown)


def test_lines_can_be_kept() -> None:
    assert printable("a\n\x1bb\n", keep="\n") == "a\n\\x1bb\n"


@given(st.recursive(st.text(), lambda inner: st.dictionaries(st.text(), inner, max_size=3)))
def test_json_means_the_same_and_steers_nothing(value: object) -> None:
    text = printable_json(value)

    assert json.loads(text) == value
    assert printable(text, keep="\n") == text


def test_json_keeps_letters_readable() -> None:
    assert printable_json("Ähre\x7f\u202e\x1b") == '"Ähre\\u007f\\u202e\\u001b"'


@pytest.mark.parametrize("text", ["=1+1", "+cmd|' /C calc'!A0", "-2+3", "@SUM(A1)", "=\ttab"])
def test_a_spreadsheet_computes_no_text(text: str) -> None:
    assert str(csv_cell(text)).startswith(f"'{text[0]}")


@pytest.mark.parametrize("cell", [-1.5, 3, None, "", "-1.5", "+2e-3", "plain", "levels=L1"])
def test_numbers_and_ordinary_texts_stay(cell: object) -> None:
    assert csv_cell(cell) == cell
