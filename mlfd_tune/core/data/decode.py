"""From any picture Pillow opens to a square RGB array.

The rules: the EXIF orientation is applied; transparency is laid over white; 16-bit grey is scaled
to 8 bits, of 16-bit colour the upper 8 are taken; animations and files of several pages give their
first; colour profiles are not applied.

What is refused, since a small file can ask for more than a machine has: more than `MAX_PIXELS`.
And what Pillow would hand to another program: PostScript.
"""

from __future__ import annotations

import warnings
from io import BytesIO
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps, UnidentifiedImageError

__all__ = ["MAX_PIXELS", "UnreadableImageError", "read_image", "to_rgb", "to_square"]

MAX_PIXELS = 178_956_970
"""Pixels of an image that is still decoded: three bytes each are 512 MiB. A camera has 150 M."""

# Ghostscript runs the program that a PostScript file is.
_PROGRAMS = {"EPS"}

# Pillow would say once, and without the image's name, what is wrong with a header. What matters of
# it is an error here. For the whole process, since filters cannot be set for one thread.
warnings.filterwarnings("ignore", category=Image.DecompressionBombWarning)
warnings.filterwarnings("ignore", category=UserWarning, module=r"PIL\.")


class UnreadableImageError(Exception):
    """An image cannot be read; the text says why, as it follows the image's name."""


def read_image(source: Path | BytesIO) -> Image.Image:
    """Return the picture in an image file, upright, as RGB.

    Args:
        source: The file, which must be a regular one, or its content.

    Raises:
        UnreadableImageError: It is no image, a damaged one, or one that is not to be decoded.
        OSError: The file cannot be read.
    """
    try:
        with Image.open(source) as image:
            _check(image)
            return to_rgb(image)
    except UnreadableImageError:
        raise
    except UnidentifiedImageError:
        raise UnreadableImageError(
            f"{_content(source)} (allowed: what Pillow reads, such as JPEG, PNG, WebP, TIFF)"
        ) from None
    except Image.DecompressionBombError:
        raise UnreadableImageError(_too_large()) from None
    except Exception as error:  # decoders raise nearly anything on damaged bytes
        if isinstance(error, OSError) and error.errno:
            raise
        reason = next(iter(str(error).splitlines()), "") or type(error).__name__
        raise UnreadableImageError(f"is a damaged image: {reason}") from error


def _check(image: Image.Image) -> None:
    """Refuse an image by its header, before anything is decoded."""
    width, height = image.size
    if width * height > MAX_PIXELS:
        raise UnreadableImageError(f"{_too_large()}: {width:,} x {height:,}")
    if image.format in _PROGRAMS:
        raise UnreadableImageError(
            f"is a program that draws ({image.format}), which is not run; save it as PNG"
        )
    if image.mode == "LAB":
        raise UnreadableImageError("has its colours in LAB, which is not read; save it as RGB")


def _too_large() -> str:
    return f"has more than {MAX_PIXELS:,} pixels; make it smaller"


def _content(source: Path | BytesIO) -> str:
    size = source.stat().st_size if isinstance(source, Path) else len(source.getbuffer())
    return "is not an image that can be read" if size else "is an empty file, not an image"


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
    if not np.isfinite(values).all():
        raise ValueError("some of its pixels are no numbers")
    if image.mode == "F":
        scaled = values * 255 if values.min() >= 0 and values.max() <= 1 else values
    else:
        scaled = values / 257
    return Image.fromarray(np.clip(np.rint(scaled), 0, 255).astype(np.uint8))
