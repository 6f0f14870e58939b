"""A picture of a dataset: one row a class, with its name and some of its training images."""

from __future__ import annotations

import hashlib
from functools import cache
from importlib.util import find_spec
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from mlfd_tune.core.data.decode import to_rgb
from mlfd_tune.core.data.raw import RawDataset, RawSplit
from mlfd_tune.core.errors import UserError

__all__ = ["MAX_CLASSES", "contact_sheet"]

MAX_CLASSES = 20

# All in pixels.
CELL = 96  # side of the square that an image is fitted into
GAP = 8
MARGIN = 20
LABELS = 280  # width of the column of class names, at most
TITLE = 64

_TEXT, _NOTE, _FRAME = "#111111", "#5c5c5c", "#dddddd"


def contact_sheet(raw: RawDataset, title: str, per_class: int = 8, seed: int = 0) -> Image.Image:
    """Draw images of every class, or of `MAX_CLASSES` spread evenly where there are more.

    An image keeps its proportions. Small ones are enlarged without smoothing, so that their pixels
    are seen as they are. Which images are shown depends on their names and the seed only.

    Args:
        raw: A dataset with the split ``train``.
        title: What to write above.
        per_class: Show up to so many training images of a class.
        seed: Fixes which ones.

    Returns:
        An RGB image on white.
    """
    train = raw.splits["train"]
    count = len(raw.classes)
    shown = sorted({index * count // MAX_CLASSES for index in range(MAX_CLASSES)})
    labels = list(range(count)) if count <= MAX_CLASSES else shown
    rows = [np.flatnonzero(train.labels == label).tolist() for label in labels]
    columns = max(1, min(per_class, max(len(members) for members in rows)))
    names = [" ".join(raw.classes[label].split()) for label in labels]
    left = MARGIN + int(min(LABELS, max(100, 24 + max(_length(name, 17) for name in names))))
    width = left + columns * (CELL + GAP) + MARGIN
    height = 2 * MARGIN + TITLE + len(rows) * (CELL + GAP)
    sheet = Image.new("RGB", (max(width, 480), height), "white")
    draw = ImageDraw.Draw(sheet)
    _write(draw, (MARGIN, MARGIN), title, 22, _TEXT, sheet.width - 2 * MARGIN)
    told = f"{len(labels)} of {count} classes shown, up to {per_class} training images of each"
    _write(draw, (MARGIN, MARGIN + 34), told, 13, _NOTE, sheet.width - 2 * MARGIN)
    for row, (name, members) in enumerate(zip(names, rows, strict=True)):
        top = MARGIN + TITLE + row * (CELL + GAP)
        _write(draw, (MARGIN, top + 24), name, 17, _TEXT, left - MARGIN - 16)
        noun = "image" if len(members) == 1 else "images"
        _write(draw, (MARGIN, top + 52), f"{len(members):,} {noun}", 13, _NOTE, left - MARGIN - 16)
        for column, index in enumerate(_chosen(train, members, per_class, seed)):
            place = (left + column * (CELL + GAP), top)
            sheet.paste(_cell(train, index), place)
    return sheet


def _chosen(split: RawSplit, members: list[int], count: int, seed: int) -> list[int]:
    def key(index: int) -> bytes:
        return hashlib.sha256(f"{seed}/sheet/{split.name(index)}".encode()).digest()

    return sorted(members, key=key)[:count]


def _cell(split: RawSplit, index: int) -> Image.Image:
    """Return a square with the image in its middle, or with a word where it cannot be read."""
    cell = Image.new("RGB", (CELL, CELL), "white")
    draw = ImageDraw.Draw(cell)
    try:
        image = _fitted(to_rgb(split.image(index)))
        cell.paste(image, ((CELL - image.width) // 2, (CELL - image.height) // 2))
    except UserError:
        _write(draw, (8, 38), "unreadable", 13, _TEXT, CELL - 16)
    draw.rectangle((0, 0, CELL - 1, CELL - 1), outline=_FRAME)
    return cell


def _fitted(image: Image.Image) -> Image.Image:
    scale = CELL / max(image.size)
    size = (max(1, round(image.width * scale)), max(1, round(image.height * scale)))
    enlarged = scale > 1
    return image.resize(size, Image.Resampling.NEAREST if enlarged else Image.Resampling.LANCZOS)


def _write(
    draw: ImageDraw.ImageDraw, at: tuple[int, int], text: str, size: int, ink: str, width: int
) -> None:
    """Write one line, cut off with three dots where it is wider than `width`."""
    font = _font(size)
    line = text
    while font.getlength(line) > width and len(text) > 1:
        text = text[:-1]
        line = f"{text.rstrip()}..."
    draw.text(at, line, fill=ink, font=font)


def _length(text: str, size: int) -> float:
    return _font(size).getlength(text)


@cache
def _font(size: int) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    """Return DejaVu Sans, which comes with matplotlib: Pillow's own font knows ASCII only."""
    found = find_spec("matplotlib")
    folder = Path(found.origin).parent if found and found.origin else Path()
    try:
        # The plain layout engine draws the same everywhere and stumbles over no text.
        file = folder / "mpl-data/fonts/ttf/DejaVuSans.ttf"
        return ImageFont.truetype(file, size, layout_engine=ImageFont.Layout.BASIC)
    except OSError:
        return ImageFont.load_default(size)
