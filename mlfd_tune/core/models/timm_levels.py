"""Where a timm architecture has its levels, read from its own `feature_info`."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

import torch
from torch import Tensor

from mlfd_tune.core.models.errors import ModelChoiceError
from mlfd_tune.core.models.levels import EMBEDDING, LEVELS, map_levels, stride
from mlfd_tune.core.models.timm_models import TimmModel, classifiers, create_timm_model

__all__ = ["LevelPlan", "as_map", "plan_levels"]


@dataclass(frozen=True)
class LevelPlan:
    """How to take an architecture's levels in one pass.

    Attributes:
        shapes: The shape of every level it has, for one image: ``(C,)`` or ``(C, H, W)``.
        indices: For each map level, its index in `forward_intermediates`.
        final: The level that is the map `forward_features` ends in, which may have more channels
            than the last stage (EfficientNet's 1280); None when it ends in tokens.
        norm: Whether maps are taken after the last norm layer. So it is where `forward_features`
            ends in tokens: their map is then the one the classifier sees.
    """

    shapes: dict[str, tuple[int, ...]]
    indices: dict[str, int]
    final: str | None
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
        except (AssertionError, AttributeError, IndexError, RuntimeError, TypeError) as error:
            reason = (str(error) or type(error).__name__).splitlines()[0]
            raise ModelChoiceError(
                f"architecture {arch!r}: cannot read its levels at {image_size} px ({reason})"
            ) from error


def as_map(final: Tensor, size: tuple[int, ...]) -> Tensor | None:
    """Return what `forward_features` ends in as ``(N, C, H, W)``, or None if it is no such map.

    Args:
        final: ``(N, C, H, W)``, ``(N, H, W, C)`` or tokens.
        size: The map's ``(H, W)``.
    """
    if final.ndim != 4:
        return None
    if tuple(final.shape[2:]) == size:
        return final
    if tuple(final.shape[1:3]) == size:
        return final.permute(0, 3, 1, 2).contiguous()
    return None


def _plan(model: TimmModel, images: Tensor) -> LevelPlan:
    final, maps = model.forward_intermediates(images)
    size = tuple(maps[-1].shape[2:])
    final_map = as_map(final, size)
    norm = final_map is None and _supports_norm(model, images)

    # Where several blocks share a stride, the last of them is the level.
    last_of = {reduction: index for index, reduction in enumerate(_reductions(model))}
    indices = {
        level: last_of[stride(level)] for level in map_levels(LEVELS) if stride(level) in last_of
    }
    shapes = {EMBEDDING: _embedding_shape(model, final)}
    shapes |= {level: tuple(maps[index].shape[1:]) for level, index in indices.items()}
    coarsest = {index: level for level, index in indices.items()}.get(len(maps) - 1)
    if coarsest is None or final_map is None:
        return LevelPlan(shapes, indices, None, norm)
    return LevelPlan(shapes | {coarsest: tuple(final_map.shape[1:])}, indices, coarsest, norm)


def _require_interface(model: TimmModel, arch: str) -> None:
    needed = ("forward_intermediates", "forward_head", "get_classifier", "feature_info")
    missing = [name for name in needed if not hasattr(model, name)]
    if missing:
        raise ModelChoiceError(
            f"architecture {arch!r}: its levels cannot be read, "
            f"timm gives it no {', '.join(missing)}"
        )


def _reductions(model: TimmModel) -> list[int]:
    info = model.feature_info
    entries = info.get_dicts() if hasattr(info, "get_dicts") else info
    return [int(entry["reduction"]) for entry in entries]


def _supports_norm(model: TimmModel, images: Tensor) -> bool:
    try:
        model.forward_intermediates(images, norm=True)
    except AssertionError:  # timm's way to say that this family has no such norm
        return False
    return True


def _embedding_shape(model: TimmModel, final: Tensor) -> tuple[int, ...]:
    taken: list[Tensor] = []
    first = classifiers(model)[0]
    handle = first.register_forward_pre_hook(lambda _, inputs: taken.append(inputs[0]))
    model.forward_head(final)
    handle.remove()
    vector = taken[0]
    if any(side != 1 for side in vector.shape[2:]):
        raise RuntimeError(f"its classifier takes {tuple(vector.shape[1:])}, not a vector")
    return (int(vector.shape[1]),)
