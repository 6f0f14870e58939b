"""The shapes a joint teacher gives at each level: what its students are taught."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal

from mlfd_tune.core.models.adaptors import require_adaptor
from mlfd_tune.core.models.levels import EMBEDDING, finest, halvings, map_levels

__all__ = ["FusionSize", "Shape", "adapted_channels", "joint_out_shapes"]

Shape = tuple[int, ...]

FusionSize = Literal["largest", "smallest"]
"""The height and width at which maps are fused: of the largest teacher map, or the smallest."""


def joint_out_shapes(
    levels: Sequence[str],
    channels: Mapping[str, int],
    in_shapes: Mapping[str, Shape],
    width: int,
    adaptor: str = "pointwise",
    fuse_at: FusionSize = "largest",
) -> dict[str, Shape]:
    """Return the shape of every level a joint teacher gives, the embedding always among them.

    Each map has the student's channels, so that the student needs no adaptor there, and the
    spatial size of the largest (or smallest) teacher map, halved (rounding up) for each halving of
    resolution.
    The embedding is the average of the coarsest map; at L1 it is the teachers' concatenation.

    Args:
        levels: The levels fused, coarse to fine.
        channels: The student's channels at each map level; unused at L1.
        in_shapes: Each teacher's shape at the finest level.
        width: The channels each adaptor gives.
        adaptor: The kind of adaptor; `identity` keeps each teacher's channels.
        fuse_at: Whether maps of different size are brought up to the largest or down to the
            smallest.

    Returns:
        Level to ``(C,)`` or ``(C, H, W)``, coarse to fine.

    Raises:
        ModelChoiceError: When the kind of adaptor is unknown.
    """
    if finest(levels) == EMBEDDING:
        return {EMBEDDING: (sum(adapted_channels(in_shapes, width, adaptor).values()),)}
    choose = max if fuse_at == "largest" else min
    finest_size = [choose(shape[side] for shape in in_shapes.values()) for side in (1, 2)]
    maps: dict[str, Shape] = {}
    for level in map_levels(levels):
        times = halvings(finest(levels), level)
        maps[level] = (channels[level], *(_halved(pixels, times) for pixels in finest_size))
    coarsest = next(iter(maps.values()))
    return {EMBEDDING: (coarsest[0],), **maps}


def adapted_channels(in_shapes: Mapping[str, Shape], width: int, adaptor: str) -> dict[str, int]:
    """Return the channels of each teacher's features after its adaptor (Eq. 2).

    Raises:
        ModelChoiceError: When the kind of adaptor is unknown.
    """
    keeps = require_adaptor(adaptor).keeps_channels
    return {teacher: shape[0] if keeps else width for teacher, shape in in_shapes.items()}


def _halved(pixels: int, times: int) -> int:
    return -(-pixels // (1 << times))
