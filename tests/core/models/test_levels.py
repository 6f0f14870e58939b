"""Levels and the fusion depths that are presets over them."""

from __future__ import annotations

import pydantic
import pytest

from mlfd_tune.core.errors import UserError
from mlfd_tune.core.models import FUSION_DEPTHS, LEVELS, finest, parse_levels


def test_each_fusion_depth_adds_the_next_finer_level() -> None:
    assert FUSION_DEPTHS == {
        "L1": ("embedding",),
        "L2": ("embedding", "stride32"),
        "L3": ("embedding", "stride32", "stride16"),
        "L4": ("embedding", "stride32", "stride16", "stride8"),
    }
    assert FUSION_DEPTHS["L4"] == LEVELS


@pytest.mark.parametrize(
    ("written", "levels"),
    [
        ("L3", ("embedding", "stride32", "stride16")),
        ("stride16", ("stride16",)),
        ("stride16, embedding", ("embedding", "stride16")),
        (["stride8", "stride32"], ("stride32", "stride8")),
        (("stride32", "embedding", "stride32"), ("embedding", "stride32")),
    ],
)
def test_levels_are_read_from_a_preset_or_a_list_and_ordered_coarse_to_fine(
    written: str | list[str], levels: tuple[str, ...]
) -> None:
    assert parse_levels(written) == levels


@pytest.mark.parametrize(
    ("written", "expected"),
    [
        ("L5", "unknown level 'L5'"),
        (["stride31"], "did you mean 'stride32'?"),
        (["L2"], "unknown level 'L2'"),
        ([], r"not \[\]"),
        (7, "not 7"),
        ("", "unknown level ''"),
    ],
)
def test_a_name_that_is_no_level_is_an_error_that_says_what_is_allowed(
    written: str | list[str], expected: str
) -> None:
    with pytest.raises(UserError, match=expected) as raised:
        parse_levels(written)
    assert "allowed: " in str(raised.value)


def test_all_unknown_levels_are_told_at_once() -> None:
    with pytest.raises(UserError) as raised:
        parse_levels(["strid32", "stride8", "embeding"])
    assert len(raised.value.problems) == 2


def test_a_pydantic_validator_collects_the_error() -> None:
    class Settings(pydantic.BaseModel):
        levels: tuple[str, ...]

        _levels = pydantic.field_validator("levels", mode="before")(parse_levels)

    with pytest.raises(pydantic.ValidationError, match="did you mean 'stride16'"):
        Settings(levels="stride61")  # type: ignore[arg-type]


def test_the_finest_level_is_where_teachers_are_fused() -> None:
    assert [finest(levels) for levels in FUSION_DEPTHS.values()] == [
        "embedding",
        "stride32",
        "stride16",
        "stride8",
    ]
