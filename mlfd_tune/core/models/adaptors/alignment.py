"""Alignment: what brings maps of different height and width together, channel by channel."""

from __future__ import annotations

from typing import Literal, get_args

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from mlfd_tune.core.errors import allowed_values
from mlfd_tune.core.models.errors import ModelChoiceError

__all__ = [
    "ALIGNMENTS",
    "Alignment",
    "Interpolate",
    "Resize",
    "make_alignment",
    "require_alignment",
]

Alignment = Literal["pool", "interpolate", "strided_conv"]
"""`pool`: average pooling down, bilinear interpolation up. `interpolate`: bilinear both ways.
`strided_conv`: learned convolutions of stride 2 while they can halve, then as `pool`."""

ALIGNMENTS: tuple[Alignment, ...] = get_args(Alignment)
"""Every alignment by its name."""


def require_alignment(kind: str) -> None:
    """Raise unless `kind` is one of `ALIGNMENTS`.

    Raises:
        ModelChoiceError: With those there are and the nearest match.
    """
    if kind not in ALIGNMENTS:
        raise ModelChoiceError(f"unknown alignment {kind!r} {allowed_values(kind, ALIGNMENTS)}")


def make_alignment(
    kind: Alignment, channels: int, in_size: tuple[int, int], out_size: tuple[int, int]
) -> nn.Module:
    """Return a module that brings maps ``(N, channels, *in_size)`` to ``(N, channels, *out_size)``.

    No channel sees another one: mixing them is the adaptor's part.

    Args:
        kind: One of `ALIGNMENTS`.
        channels: The channels of the maps.
        in_size: Their height and width.
        out_size: The height and width wanted.

    Raises:
        ModelChoiceError: There is no such alignment.
    """
    require_alignment(kind)
    if kind == "interpolate":
        return Interpolate(*out_size)
    resize = Resize(*out_size)
    if kind == "pool":
        return resize
    return nn.Sequential(*_halvings(channels, in_size, out_size), resize)


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


class Interpolate(Resize):
    """Brings maps to one height and width by bilinear interpolation, antialiased on the way down.

    Args:
        height: The height of the maps it gives.
        width: Their width.
    """

    def forward(self, maps: Tensor) -> Tensor:
        """Map ``(N, C, H, W)`` to ``(N, C, height, width)``."""
        # The antialiased kernel does not exist in half precision, which autocast may bring.
        precise = maps.to(torch.promote_types(maps.dtype, torch.float32))
        return F.interpolate(
            precise, self.size, mode="bilinear", align_corners=False, antialias=True
        ).to(maps.dtype)


def _halvings(
    channels: int, in_size: tuple[int, int], out_size: tuple[int, int]
) -> list[nn.Module]:
    """Return 3x3 convolutions that halve each side while it is at least twice what is wanted."""
    convolutions: list[nn.Module] = []
    size = in_size
    while any(side >= 2 * wanted for side, wanted in zip(size, out_size, strict=True)):
        height, width = (
            2 if side >= 2 * wanted else 1 for side, wanted in zip(size, out_size, strict=True)
        )
        # One filter per channel: a dense convolution at a teacher's 2048 channels would have 38
        # million weights, many times the joint teacher. No bias: the adaptor has its own.
        convolutions.append(
            nn.Conv2d(
                channels,
                channels,
                kernel_size=3,
                stride=(height, width),
                padding=1,
                groups=channels,
                bias=False,
            )
        )
        size = (-(-size[0] // height), -(-size[1] // width))
    return convolutions
