"""Rows of a leaderboard chosen and ordered by columns and by settings."""

from __future__ import annotations

from dataclasses import replace

import pytest

from mlfd_tune.core.errors import UserError
from mlfd_tune.core.statistics import mean_interval
from mlfd_tune.tracking.choosing import (
    filtered,
    first_of_each,
    ordered,
    sort_keys,
    with_settings,
)
from mlfd_tune.tracking.leaderboard import Row
from mlfd_tune.tracking.tables import render

PLAIN = Row(
    experiment="exp",
    sweep="S",
    dataset="digits",
    method="mlfd",
    status="confirmed",
    config="aaaabbbbcccc",
    baseline_of=(),
    arm=None,
    n_seeds=2,
    val=mean_interval([80.0, 82.0]),
    test=None,
    gain=None,
    gain_over_own_teacher=None,
    gain_metric=None,
    run_ids=("1", "2"),
    params={},
    settings={"alpha": "0.5", "arch": "test_vit", "ema": "None", "flip": "False"},
)


def row(name: str, val: float | None = 81.0, **changes: object) -> Row:
    settings = {**PLAIN.settings, **changes.pop("settings", {})}  # type: ignore[dict-item]
    interval = None if val is None else mean_interval([val])
    return replace(PLAIN, config=name, val=interval, settings=settings, **changes)


ROWS = [
    row("a", 80.0, settings={"alpha": "10"}, test=mean_interval([60.0])),
    row("b", 70.0, settings={"alpha": "9.5"}, dataset="letters"),
    row("c", None, settings={"alpha": "auto"}, test=mean_interval([75.0]), arm="x"),
    row("d", 90.0, settings={"alpha": "None"}, experiment="other"),
]


def names(rows: list[Row]) -> str:
    return "".join(one.config for one in rows)


@pytest.mark.parametrize(
    ("condition", "expected"),
    [
        ("val/acc1 >= 80", "ad"),
        ("alpha < 10", "b"),
        ("alpha == 'auto' or alpha == None", "cd"),
        ("flip == False and n == 2", "abcd"),
        ("not val/acc1 > 75", "b"),
        ("arm != 'y'", "c"),
        ("experiment == 'exp' and dataset == 'digits'", "ac"),
    ],
)
def test_conditions_see_settings_as_they_were_and_not_as_text(
    condition: str, expected: str
) -> None:
    assert names(filtered(ROWS, condition)) == expected


@pytest.mark.parametrize(
    ("keys", "expected"),
    [
        ("val/acc1", "badc"),
        ("-val/acc1", "dabc"),
        ("-test/acc1,dataset", "cadb"),
        ("dataset,-val/acc1", "dacb"),
        ("alpha", "dbac"),
        ("-alpha", "cabd"),
        ("arm", "cabd"),
        ("", "abcd"),
    ],
)
def test_rows_without_a_value_come_last_in_either_direction(keys: str, expected: str) -> None:
    assert names(ordered(ROWS, sort_keys(keys))) == expected


def test_a_setting_that_does_not_differ_can_be_shown() -> None:
    rows = with_settings(ROWS, ["arch"])
    assert all(one.params == {"arch": "test_vit"} for one in rows)
    table = render(rows, "table", settings=["arch"])
    assert "test_vit" in table
    assert "| arch |" in render(rows, "md", settings=["arch"])
    assert "param.arch" in render(rows, "csv")


def test_settings_that_end_alike_are_shown_by_their_whole_names() -> None:
    rows = [row("a", settings={"one.lr": "0.01", "two.lr": "0.123456", "x.y": "2e-7"})]
    text = render(rows, "table", width=140, settings=["one.lr", "two.lr", "x.y"])
    head = next(line for line in text.splitlines() if "dataset" in line)
    assert head.split()[-3:] == ["one.lr", "two.lr", "y"]
    assert "0.1235" in text


def test_a_limit_is_for_each_experiment() -> None:
    assert names(first_of_each([*ROWS, row("e", experiment="other")], 1)) == "ad"


@pytest.mark.parametrize(
    ("call", "part"),
    [
        (lambda: ordered(ROWS, sort_keys("-val/ac1")), "--sort: no row has 'val/ac1'"),
        (lambda: ordered(ROWS, sort_keys("alfa")), "did you mean 'alpha'?"),
        (lambda: with_settings(ROWS, ["arc"]), "--columns: no row has 'arc'"),
        (lambda: filtered(ROWS, "alfa > 1"), "did you mean 'alpha'?"),
    ],
)
def test_unknown_names_are_answered_with_the_nearest(call, part: str) -> None:
    with pytest.raises(UserError) as caught:
        call()
    assert part in str(caught.value)


def test_an_empty_leaderboard_has_no_unknown_names() -> None:
    assert filtered([], "anything > 1") == []
    assert ordered([], sort_keys("anything")) == []
