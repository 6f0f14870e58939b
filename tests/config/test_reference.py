"""The reference of configuration keys is what the schema says, and complete."""

from __future__ import annotations

from pathlib import Path

import pytest

from mlfd_tune.config.reference import render

COMMITTED = Path(__file__).parents[2] / "docs" / "reference.md"


def test_the_committed_reference_is_up_to_date() -> None:
    again = "run: python -m mlfd_tune.config.reference docs/reference.md"
    assert COMMITTED.read_text(encoding="utf-8") == render(), again


@pytest.mark.parametrize(
    "row",
    [
        "| `temperature` | number | `2.0` | above 0 | Temperature of the soft CE. |",
        "| `adaptor` | text | `pointwise` | `attention`, `bottleneck`, `conv3x3`, ",
        "| `space` | [section](#searchspace) or null | `null` |  |",
        "| `trials` | whole number | needed | at least 1 | Trials of each dataset. |",
    ],
)
def test_a_key_has_type_default_allowed_values_and_meaning(row: str) -> None:
    assert row in render()


def test_every_key_is_described() -> None:
    rows = [line for line in render().splitlines() if line.startswith("| `")]
    assert rows
    assert [row for row in rows if row.endswith("|  |")] == []


def test_every_link_leads_to_a_section() -> None:
    text = render()
    links = {part.split(")")[0] for part in text.split("](#")[1:]}
    for link in links:
        heading = link.replace("-", " ")
        assert f'<a id="{link}"></a>' in text or f"## {heading}" in text.lower(), link
