"""Where a timm architecture has its levels, read from its own `feature_info`."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import Literal

import torch
from torch import Tensor

from mlfd_tune.core.models.errors import ModelChoiceError
from mlfd_tune.core.models.levels import (
    EMBEDDING,
    LEVELS,
    blocks_by_depth,
    level_at_stride,
    map_levels,
    map_size,
)
from mlfd_tune.core.models.timm_models import (
    TimmModel,
    classifiers,
    create_timm_model,
    reason_of,
)

__all__ = ["Found", "LevelPlan", "plan_levels"]

Found = Literal["stride", "depth"]
"""How an architecture's map levels are found: each at its own stride, or, where all blocks have one
stride, each at its own depth."""

# What timm's code raises for images of a size that an architecture does not take.
_TIMM_ERRORS = (
    ArithmeticError,
    AssertionError,
    AttributeError,
    LookupError,
    RuntimeError,
    TypeError,
    ValueError,
)


@dataclass(frozen=True)
class LevelPlan:
    """How to take an architecture's levels in one pass.

    Attributes:
        shapes: The shape of every level it has, for one image: ``(C,)`` or ``(C, H, W)``. The side
            of a map is the image's by the stride of its level, rounded up.
        found: Whether the map levels are found by stride or by depth.
        indices: For each map level, its index in `forward_intermediates`.
        resize: The height and width of each map level that the architecture has in another size.
            So it is where levels are found by depth, and where a stride is 14 rather than 16 or a
            stem has no padding.
        final: The level that is the map `forward_features` ends in, which may have more channels
            than the last stage (EfficientNet's 1280); None when it ends in tokens.
        channels_last: Whether that map is ``(N, H, W, C)``.
        norm: Whether maps are taken after the last norm layer. So it is where `forward_features`
            ends in tokens: their map is then the one the classifier sees.
    """

    shapes: dict[str, tuple[int, ...]]
    found: Found
    indices: dict[str, int]
    resize: dict[str, tuple[int, int]]
    final: str | None
    channels_last: bool
    norm: bool


@cache
def plan_levels(arch: str, image_size: int) -> LevelPlan:
    """Return the plan of `arch` at `image_size` pixels, from one pass without memory or weights.

    Raises:
        ModelChoiceError: When the architecture is unknown, has no levels that can be read, or does
            not take images of this size.
    """
    # The meta device computes shapes only; the caller's random stream must not move either.
    with torch.random.fork_rng(devices=[]), torch.device("meta"), torch.no_grad():
        model = create_timm_model(arch, num_classes=2, image_size=image_size)
        model.eval()
        _require_interface(model, arch)
        images = torch.empty(1, 3, image_size, image_size)
        try:
            return _plan(model, images)
        except _TIMM_ERRORS as error:
            raise ModelChoiceError(
                f"architecture {arch!r}: cannot read its levels at {image_size} px "
                f"({reason_of(error, arch, image_size)})"
            ) from error


def _plan(model: TimmModel, images: Tensor) -> LevelPlan:
    final, maps = model.forward_intermediates(images, stop_early=False)
    found, indices = _indices(_strides(model, len(maps)))
    final_map = _as_map(final, tuple(maps[-1].shape[2:]))
    # Where tokens are not the end, the maps are taken as they are.
    norm = final_map is None and _supports_norm(model, images)
    taken = {level: maps[index] for level, index in indices.items()}
    coarsest = {index: level for level, index in indices.items()}.get(len(maps) - 1)
    if final_map is None:
        coarsest = None
    elif coarsest is not None:
        taken[coarsest] = final_map

    sizes = {level: (map_size(level, images.shape[-1]),) * 2 for level in taken}
    shapes = {level: (int(map_.shape[1]), *sizes[level]) for level, map_ in taken.items()}
    return LevelPlan(
        shapes={EMBEDDING: _embedding_shape(model, final), **shapes},
        found=found,
        indices=indices,
        resize={level: sizes[level] for level in taken if taken[level].shape[2:] != sizes[level]},
        final=coarsest,
        channels_last=final_map is not None and final_map is not final,
        norm=norm,
    )


def _strides(model: TimmModel, maps: int) -> list[int]:
    info = model.feature_info
    entries = info.get_dicts() if hasattr(info, "get_dicts") else info
    strides = [int(entry["reduction"]) for entry in entries]
    if len(strides) != maps:
        raise RuntimeError(f"timm lists {len(strides)} feature maps of it, and gives {maps}")
    return strides


def _indices(strides: list[int]) -> tuple[Found, dict[str, int]]:
    """Return how levels are found among feature maps of these strides, and where."""
    if len(set(strides)) == 1:
        return "depth", blocks_by_depth(len(strides))
    # Where several blocks share a stride, the last of them is the level.
    last = {level_at_stride(stride): index for index, stride in enumerate(strides)}
    return "stride", {level: last[level] for level in map_levels(LEVELS) if level in last}


def _as_map(final: Tensor | list[Tensor], size: tuple[int, ...]) -> Tensor | None:
    """Return what `forward_features` ends in as ``(N, C, *size)``, or None if it is no such map."""
    if not isinstance(final, Tensor) or final.ndim != 4:
        return None
    if tuple(final.shape[2:]) == size:
        return final
    return final.permute(0, 3, 1, 2) if tuple(final.shape[1:3]) == size else None


def _require_interface(model: TimmModel, arch: str) -> None:
    needed = ("forward_intermediates", "forward_head", "get_classifier", "feature_info")
    missing = [name for name in needed if not hasattr(model, name)]
    if missing:
        raise ModelChoiceError(
            f"architecture {arch!r}: its levels cannot be read, "
            f"timm gives it no {', '.join(missing)}"
        )


def _supports_norm(model: TimmModel, images: Tensor) -> bool:
    try:
        model.forward_intermediates(images, norm=True, stop_early=False)
    except AssertionError:  # timm's way to say that this family has no such norm
        return False
    return True


def _embedding_shape(model: TimmModel, final: Tensor | list[Tensor]) -> tuple[int, ...]:
    taken: dict[int, Tensor] = {}
    for layer in classifiers(model):
        layer.register_forward_pre_hook(lambda _, inputs: taken.update({id(inputs[0]): inputs[0]}))
    model.forward_head(final)
    for vector in taken.values():
        if any(side != 1 for side in vector.shape[2:]):
            raise RuntimeError(f"its classifier takes {tuple(vector.shape[1:])}, not a vector")
    return (sum(int(vector.shape[1]) for vector in taken.values()),)
