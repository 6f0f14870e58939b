"""Levels and the fusion depths that are presets over them."""

from __future__ import annotations

import math

import pydantic
import pytest

from mlfd_tune.core.errors import UserError
from mlfd_tune.core.models import FUSION_DEPTHS, LEVELS, finest, parse_levels
from mlfd_tune.core.models.levels import blocks_by_depth, level_at_stride, map_size


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


@pytest.mark.parametrize("image_size", [8, 32, 33, 100, 224, 256, 299, 331])
def test_the_sizes_of_maps_are_halved_from_level_to_level_rounding_up(image_size: int) -> None:
    at_8, at_16, at_32 = (map_size(level, image_size) for level in reversed(LEVELS[1:]))
    assert at_8 == math.ceil(image_size / 8)
    assert at_16 == math.ceil(at_8 / 2) == math.ceil(image_size / 16)
    assert at_32 == math.ceil(at_16 / 2) == math.ceil(image_size / 32)


def test_a_stride_less_than_a_quarter_off_is_that_of_the_level() -> None:
    found = {stride: level_at_stride(stride) for stride in range(2, 65)}
    assert {stride: level for stride, level in found.items() if level} == {
        **dict.fromkeys(range(7, 10), "stride8"),
        **dict.fromkeys(range(13, 20), "stride16"),
        **dict.fromkeys(range(25, 40), "stride32"),
    }


@pytest.mark.parametrize(
    ("blocks", "numbers"),
    [
        (12, (12, 9, 6)),
        (24, (24, 18, 12)),
        (32, (32, 24, 16)),
        (9, (9, 6, 4)),
        (6, (6, 4, 3)),
        (4, (4, 3, 2)),
        (3, (3, 2, 1)),
        (2, (2, 1, 1)),
        (1, (1, 1, 1)),
    ],
)
def test_by_depth_levels_are_at_quarters_from_the_end(
    blocks: int, numbers: tuple[int, int, int]
) -> None:
    found = blocks_by_depth(blocks)
    assert tuple(found) == LEVELS[1:]
    assert tuple(index + 1 for index in found.values()) == numbers


def test_by_depth_levels_come_from_three_blocks_wherever_there_are_three() -> None:
    assert all(len(set(blocks_by_depth(blocks).values())) == 3 for blocks in range(3, 100))
