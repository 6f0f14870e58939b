"""Styles: the same images shown otherwise, which makes related datasets out of one."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

from PIL import Image, ImageFilter, ImageOps

from mlfd_tune.core.data.decode import to_rgb

__all__ = ["STYLES", "StyleName"]

StyleName = Literal["none", "invert", "grey", "blur", "edges", "posterise"]

_BLUR = 0.04  # radius as a share of the shorter side


def _edges(image: Image.Image) -> Image.Image:
    """Dark lines on white, as a sketch has them."""
    return ImageOps.invert(ImageOps.autocontrast(image.convert("L").filter(ImageFilter.FIND_EDGES)))


def _blur(image: Image.Image) -> Image.Image:
    return image.filter(ImageFilter.GaussianBlur(_BLUR * min(image.size)))


_OF_RGB: dict[StyleName, Callable[[Image.Image], Image.Image]] = {
    "invert": ImageOps.invert,
    "grey": ImageOps.grayscale,
    "blur": _blur,
    "edges": _edges,
    "posterise": lambda image: ImageOps.posterize(image, 2),
}


def _of_any(style: Callable[[Image.Image], Image.Image]) -> Callable[[Image.Image], Image.Image]:
    return lambda image: style(to_rgb(image)).convert("RGB")


STYLES: dict[StyleName, Callable[[Image.Image], Image.Image]] = {
    name: _of_any(style) for name, style in _OF_RGB.items()
}
"""What each style but `none` makes of an image of any mode: an RGB image of the same size."""
