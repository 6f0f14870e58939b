"""From any picture Pillow opens to a square RGB array.

The rules: the EXIF orientation is applied; transparency is laid over white; 16-bit grey is scaled
to 8 bits; animations give their first frame; colour profiles are not applied.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps

__all__ = ["to_rgb", "to_square"]


def to_rgb(image: Image.Image) -> Image.Image:
    """Return an upright RGB copy of an image of any mode."""
    image = ImageOps.exif_transpose(image)
    if image.mode in {"I", "F"} or image.mode.startswith("I;16"):
        image = _to_8_bit(image)
    if image.has_transparency_data:
        white = Image.new("RGBA", image.size, "white")
        image = Image.alpha_composite(white, image.convert("RGBA"))
    return image.convert("RGB")


def to_square(image: Image.Image, size: int) -> NDArray[np.uint8]:
    """Return the whole image resized straight to a square, antialiased, as (3, size, size) uint8.

    The aspect ratio is not kept and nothing is cropped away, as in the paper's code.
    """
    square = to_rgb(image).resize((size, size), Image.Resampling.BILINEAR)
    return np.asarray(square, dtype=np.uint8).transpose(2, 0, 1)


def _to_8_bit(image: Image.Image) -> Image.Image:
    """Scale a deep grey image; Pillow's own conversion would clip everything above 255.

    Integer modes hold 16-bit values. Float images are taken as 0-1 if they stay inside it, else as
    0-255.
    """
    values = np.asarray(image, dtype=np.float64)
    if image.mode == "F":
        scaled = values * 255 if values.min() >= 0 and values.max() <= 1 else values
    else:
        scaled = values / 257
    return Image.fromarray(np.clip(np.rint(scaled), 0, 255).astype(np.uint8))
