"""The language of --filter: what it can say, what it refuses, and where it points then."""

from __future__ import annotations

from typing import Any

import pytest

from mlfd_tune.core.errors import UserError
from mlfd_tune.tracking.expressions import MISSING, parse_filter

COLUMNS: dict[str, Any] = {
    "status": "text",
    "method": "text",
    "n": "number",
    "val/acc1": "number",
    "test/acc1": "number",
}
ROW: dict[str, Any] = {
    "status": "confirmed",
    "method": "mlfd",
    "n": 3.0,
    "val/acc1": 81.5,
    "distillation.alpha": 0.5,
    "precision": "auto",
    "student.train.augment.flip": True,
    "ema_decay": None,
    "datasets.my-data.102px": 32.0,
}


def matches(text: str) -> bool:
    wanted = parse_filter(text, COLUMNS, set(ROW) - set(COLUMNS))
    return wanted.matches(lambda name: ROW.get(name, MISSING))


@pytest.mark.parametrize(
    "text",
    [
        'val/acc1 > 80 and distillation.alpha < 1 and status == "confirmed"',
        "70 < val/acc1 <= 81.5",
        "n >= 3 and n != 4 and n in (1, 3)",
        "status in ['ablation', 'confirmed'] and method not in ['none']",
        '"mlf" in method and not (n < 3 or n > 3)',
        "student.train.augment.flip == True and ema_decay == None",
        "distillation.alpha > -1",
        "`datasets.my-data.102px` == 32 and `val/acc1` > 80",
        "  n == 3",
        "precision != 3",
        "val/acc1 > distillation.alpha",
    ],
)
def test_a_row_that_fits_matches(text: str) -> None:
    assert matches(text)


@pytest.mark.parametrize(
    "text",
    [
        "val/acc1 > 81.5",
        "status == 'provisional'",
        "n == 3 and n == 4",
        "not n == 3",
        "student.train.augment.flip == 1",
        "precision > 3",
        "ema_decay < 1",
    ],
)
def test_a_row_that_does_not_fit_does_not_match(text: str) -> None:
    assert not matches(text)


def test_what_is_missing_matches_neither_a_condition_nor_its_negation() -> None:
    assert not matches("test/acc1 > 50")
    assert not matches("not test/acc1 > 50")
    assert not matches("test/acc1 != 50")
    assert matches("n == 3 or test/acc1 > 50")
    assert not matches("n == 3 and test/acc1 > 50")


@pytest.mark.parametrize(
    ("text", "part"),
    [
        ("val/ac1 > 80", "at character 1 of 'val/ac1 > 80': 'val/ac1': no such column"),
        ("val/ac1 > 80", "did you mean 'val/acc1'?"),
        ("n == 3 and distillation.alfa < 1", "at character 12 of"),
        ("status == confirmed", "text stands in quotes"),
        ("n = 3", "two = compare, as in n == 3"),
        ("n >", "invalid syntax"),
        ("", "invalid syntax"),
        ("n", "compare it with something"),
        ("status > 3", "'3': status is compared with text in quotes"),
        ("n == 'three'", "n is compared with a number"),
        ("n in ('a', 'b')", "n is compared with a number"),
        ("n is 3", "use == or !="),
        ("n + 1 == 4", "'n + 1': not known here"),
        ("n == 3 if n else 4", "not a comparison"),
        ("é == 1 and ö == 2", "at character 1 of"),
        ("(" * 300 + "n" + ")" * 300, "--filter: "),
        ("n == 3\x00", "--filter: "),
    ],
)
def test_what_cannot_be_read_is_one_line_that_shows_the_place(text: str, part: str) -> None:
    with pytest.raises(UserError) as caught:
        matches(text)
    message = str(caught.value)
    assert message.startswith("--filter: ")
    assert part in message
    assert "\n" not in message


@pytest.mark.parametrize(
    "text",
    [
        "__import__('os').system('true') == 0",
        "status.__class__ == 'x'",
        "status.upper() == 'X'",
        "[n for n in (1, 2)] == n",
        "(lambda: 1)() == n",
        "f'{n}' == status",
        "n[0] == 1",
        "(n := 3) == 3",
        "n ** 9 ** 9 > 1",
    ],
)
def test_nothing_is_evaluated_that_is_no_comparison(text: str) -> None:
    with pytest.raises(UserError, match="--filter: at character"):
        matches(text)
