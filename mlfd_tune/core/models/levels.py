"""Levels: the places features are taken, and the fusion depths that are presets over them.

`embedding` is the vector the classifier takes; the others are maps named by their stride, the
number of input pixels per map position (7x7, 14x14 and 28x28 at 224 px in the MLFD paper).
"""

from __future__ import annotations

from collections.abc import Sequence

from mlfd_tune.core.errors import allowed_values
from mlfd_tune.core.models.errors import ModelChoiceError

__all__ = [
    "EMBEDDING",
    "FUSION_DEPTHS",
    "LEVELS",
    "blocks_by_depth",
    "finest",
    "fusion_depth",
    "halvings",
    "level_at_stride",
    "map_levels",
    "map_size",
    "parse_levels",
    "stride",
]

EMBEDDING = "embedding"

LEVELS: tuple[str, ...] = (EMBEDDING, "stride32", "stride16", "stride8")
"""Every level, coarse to fine."""

FUSION_DEPTHS: dict[str, tuple[str, ...]] = {
    f"L{depth}": LEVELS[:depth] for depth in range(1, len(LEVELS) + 1)
}
"""The paper's L1 to L4 (section 4.6): each depth adds the next finer level."""


def parse_levels(value: str | Sequence[str]) -> tuple[str, ...]:
    """Return the levels `value` stands for, each once, ordered coarse to fine.

    Args:
        value: A fusion depth (``"L2"``), level names joined by commas
            (``"embedding,stride16"``), or a list of level names.

    Raises:
        ModelChoiceError: When a name is no level, or there is none.
    """
    if isinstance(value, str) and value in FUSION_DEPTHS:
        return FUSION_DEPTHS[value]
    names = _names(value)
    unknown = [name for name in names if name not in LEVELS]
    if unknown:
        allowed = (*LEVELS, *FUSION_DEPTHS) if isinstance(value, str) else LEVELS
        raise ModelChoiceError(
            *(f"unknown level {name!r} {allowed_values(str(name), allowed)}" for name in unknown)
        )
    return tuple(level for level in LEVELS if level in names)


def finest(levels: Sequence[str]) -> str:
    """Return the finest of `levels`: where the teachers are fused."""
    return max(levels, key=LEVELS.index)


def map_levels(levels: Sequence[str]) -> tuple[str, ...]:
    """Return those of `levels` that are maps, in the order given."""
    return tuple(level for level in levels if level != EMBEDDING)


def stride(level: str) -> int:
    """Return the stride of a map level in pixels: 32 for ``stride32``."""
    return int(level.removeprefix("stride"))


def map_size(level: str, image_size: int) -> int:
    """Return the side of a level's map in pixels: 7 for ``stride32`` of images of 224 px.

    It is rounded up, so that from level to level sizes are halved, rounding up.
    """
    return -(-image_size // stride(level))


def level_at_stride(pixels: float) -> str | None:
    """Return the map level that features of a stride of `pixels` belong to, or None.

    It is the level less than a quarter off: strides of 7, 14 and 28, as some families have, are
    those of ``stride8``, ``stride16`` and ``stride32``.
    """
    for level in map_levels(LEVELS):
        if 4 * abs(pixels - stride(level)) < stride(level):
            return level
    return None


def blocks_by_depth(blocks: int) -> dict[str, int]:
    """Return the block, counted from 0, that each map level of an isotropic network comes from.

    Its blocks all have one stride, so depth stands for coarseness: ``stride32`` comes from the last
    block, ``stride16`` from the one at 3/4 of the depth, ``stride8`` from the one at 1/2. Dense
    prediction takes a plain ViT's features at quarters of its depth too (DPT, Ranftl et al. 2021,
    section 3). Where a share of the depth is no whole block it is rounded down, which leaves three
    different blocks wherever there are three.
    """
    quarters = {"stride32": 4, "stride16": 3, "stride8": 2}
    return {level: max(blocks * share // 4, 1) - 1 for level, share in quarters.items()}


def halvings(fine: str, coarse: str) -> int:
    """Return how often a map at level `fine` is halved to reach level `coarse`."""
    return (stride(coarse) // stride(fine)).bit_length() - 1


def _names(value: str | Sequence[str]) -> list[str]:
    if isinstance(value, str):
        return [name.strip() for name in value.split(",")]
    # Values come straight from YAML, where anything may stand.
    if not isinstance(value, list | tuple) or not value:
        wanted = allowed_values("", (*LEVELS, *FUSION_DEPTHS))
        raise ModelChoiceError(
            f"levels must be a preset or a list of names, not {value!r} {wanted}"
        )
    return list(value)


def fusion_depth(levels: Sequence[str]) -> str:
    """Return the preset's name, such as ``L2``, or the levels joined by ``+``."""
    chosen = tuple(levels)
    names = [name for name, preset in FUSION_DEPTHS.items() if preset == chosen]
    return names[0] if names else "+".join(chosen)
