"""Choosing an adaptor by its name and fitting it between two shapes."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn
from torch.nn import functional as F

from mlfd_tune.core.errors import allowed_values
from mlfd_tune.core.models.adaptors.base import ADAPTORS
from mlfd_tune.core.models.errors import ModelChoiceError
from mlfd_tune.core.models.levels import EMBEDDING, finest
from mlfd_tune.core.models.norms import NormKind

__all__ = ["Resize", "adaptor_kinds", "build_adaptor", "check_adaptor"]


def adaptor_kinds() -> tuple[str, ...]:
    """Return the name of every kind of adaptor."""
    return tuple(ADAPTORS)


def check_adaptor(kind: str, levels: Sequence[str]) -> None:
    """Raise unless `kind` is an adaptor that can fuse teachers at the finest of `levels`.

    Raises:
        ModelChoiceError: With the kinds there are and the nearest match.
    """
    _require_kind(kind)
    if finest(levels) == EMBEDDING and not ADAPTORS[kind].takes_vectors:
        raise ModelChoiceError(_maps_only(kind))


def build_adaptor(
    kind: str,
    in_shape: Sequence[int],
    out_shape: Sequence[int],
    *,
    norm: NormKind = "batch",
) -> nn.Module:
    """Return a module that brings features of `in_shape` to `out_shape`.

    Maps that differ in height or width are averaged down before the adaptor or interpolated up
    after it, whichever leaves it the smaller map.

    Args:
        kind: One of `adaptor_kinds`.
        in_shape: ``(C,)`` or ``(C, H, W)`` of one image.
        out_shape: The same, after the adaptor.
        norm: The norm layer of the kinds that have one.

    Raises:
        ModelChoiceError: When the kind is unknown or cannot go from one shape to the other.
    """
    _require_kind(kind)
    if len(in_shape) != len(out_shape):
        raise ModelChoiceError(
            f"adaptor {kind!r}: cannot turn {_named(in_shape)} into {_named(out_shape)}"
        )
    spatial = len(in_shape) == 3
    if not spatial and not ADAPTORS[kind].takes_vectors:
        raise ModelChoiceError(_maps_only(kind))
    if ADAPTORS[kind].keeps_channels and in_shape[0] != out_shape[0]:
        raise ModelChoiceError(
            f"adaptor {kind!r} keeps the channels: "
            f"cannot turn {_named(in_shape)} into {_named(out_shape)}"
        )
    adaptor = ADAPTORS[kind](in_shape[0], out_shape[0], spatial=spatial, norm=norm)
    if tuple(in_shape[1:]) == tuple(out_shape[1:]):
        return adaptor
    resize = Resize(out_shape[1], out_shape[2])
    shrinks = out_shape[1] * out_shape[2] < in_shape[1] * in_shape[2]
    return nn.Sequential(resize, adaptor) if shrinks else nn.Sequential(adaptor, resize)


class Resize(nn.Module):
    """Brings maps to one height and width: average pooling down, bilinear interpolation up.

    Args:
        height: The height of the maps it gives.
        width: Their width.
    """

    def __init__(self, height: int, width: int) -> None:
        super().__init__()
        self.size = (height, width)

    def forward(self, maps: Tensor) -> Tensor:
        """Map ``(N, C, H, W)`` to ``(N, C, height, width)``."""
        down = (min(maps.shape[2], self.size[0]), min(maps.shape[3], self.size[1]))
        if down != tuple(maps.shape[2:]):
            maps = F.adaptive_avg_pool2d(maps, down)
        if down != self.size:
            maps = F.interpolate(maps, self.size, mode="bilinear", align_corners=False)
        return maps

    def extra_repr(self) -> str:
        """Show the size in the module's text."""
        return f"height={self.size[0]}, width={self.size[1]}"


def _require_kind(kind: str) -> None:
    if kind not in ADAPTORS:
        raise ModelChoiceError(f"unknown adaptor {kind!r} {allowed_values(kind, ADAPTORS)}")


def _maps_only(kind: str) -> str:
    vectors = sorted(name for name, adaptor in ADAPTORS.items() if adaptor.takes_vectors)
    return (
        f"adaptor {kind!r} works on maps only, not on an embedding vector "
        f"(allowed there: {', '.join(vectors)})"
    )


def _named(shape: Sequence[int]) -> str:
    return f"a {'map' if len(shape) == 3 else 'vector'} {tuple(shape)}"
