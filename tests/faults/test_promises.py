"""What docs/reliability.md promises, and the mechanisms that `python -m tests.removals` removes."""

from __future__ import annotations

import re

import pytest

from tests.removals.removal import PROJECT, Removal, read_removals

REMOVALS = read_removals()


def test_every_promise_has_mechanisms_that_can_be_removed() -> None:
    page = (PROJECT / "docs/reliability.md").read_text()
    rows = page.partition("## What is promised")[2].partition("\n## ")[0].splitlines()
    promises = [row.split(" | ")[0].removeprefix("| ") for row in rows if row.startswith("| ")]

    assert promises[2:] == list(dict.fromkeys(one.promise for one in REMOVALS))


@pytest.mark.parametrize("removal", REMOVALS, ids=lambda one: one.mechanism.replace(" ", "-"))
def test_a_mechanism_is_where_it_is_said_to_be(removal: Removal) -> None:
    assert (PROJECT / removal.file).read_text().count(removal.text) == 1
    assert removal.text != removal.instead

    files, _, words = removal.tests.partition(" -k ")
    tests = "\n".join((PROJECT / name).read_text() for name in files.split())
    chosen = set(re.findall(r"\w+", words)) - {"and", "or", "not"}
    assert all(word in tests for word in chosen)
