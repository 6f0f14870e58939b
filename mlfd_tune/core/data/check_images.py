"""A look at every image of a dataset: can it be read, what size is it, is it there twice."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import combinations
from statistics import median
from typing import NamedTuple

from PIL import Image, ImageChops

from mlfd_tune.core.data.decode import to_rgb
from mlfd_tune.core.data.raw import RawDataset, RawSplit
from mlfd_tune.core.errors import UserError

__all__ = ["ImageSummary", "Look", "look_at_all", "summary", "twins"]

_BLOCK = 32  # images that a thread takes at once


@dataclass(frozen=True)
class ImageSummary:
    """What the images of a dataset are like.

    Attributes:
        sizes: How many different sizes there are.
        min_side: The shortest side of any image, pixels.
        median_side: The median of all sides, pixels.
        max_side: The longest side of any image, pixels.
        grey: Images of which every pixel is grey, whatever their files say.
        colour: The other images.
    """

    sizes: int
    min_side: int
    median_side: float
    max_side: int
    grey: int
    colour: int


class Look(NamedTuple):
    """What is kept of an image: its width and height, whether it is grey, a hash of its pixels."""

    size: tuple[int, int]
    grey: bool
    digest: str


def look_at_all(
    raw: RawDataset, progress: Callable[[int, int], None] | None = None
) -> tuple[dict[str, Look], list[str]]:
    """Open every image.

    Args:
        raw: The dataset.
        progress: Called with (images done, images in all).

    Returns:
        A look at every image by its name, and why the others cannot be read.
    """
    total = sum(len(split) for split in raw.splits.values())
    looks: dict[str, Look] = {}
    unreadable: list[str] = []
    done = 0
    for split in raw.splits.values():
        for block in _blocks(split):
            for name, look in block:
                if isinstance(look, UserError):
                    unreadable += look.problems
                else:
                    looks[name] = look
            done += len(block)
            if progress:
                progress(done, total)
    return looks, unreadable


def summary(looks: Iterable[Look]) -> ImageSummary | None:
    """Return what the images are like; None where there are none."""
    looks = list(looks)
    if not looks:
        return None
    sides = [side for look in looks for side in look.size]
    grey = sum(look.grey for look in looks)
    return ImageSummary(
        sizes=len({look.size for look in looks}),
        min_side=min(sides),
        median_side=float(median(sides)),
        max_side=max(sides),
        grey=grey,
        colour=len(looks) - grey,
    )


def twins(raw: RawDataset, looks: dict[str, Look]) -> list[str]:
    """Say which images are there more than once: what was trained on is no test.

    Args:
        raw: The dataset in the splits that training will use.
        looks: A look at every image that can be read, by its name.
    """
    digests = {name: look.digest for name, look in looks.items()}
    notes: list[str] = []
    for name, split in raw.splits.items():
        notes += _inside(name, split, raw.classes, digests)
    for first, second in combinations(raw.splits, 2):
        seen = {digests[name]: name for name in raw.splits[first].names if name in digests}
        shared = [name for name in raw.splits[second].names if digests.get(name) in seen]
        if shared:
            twin = seen[digests[shared[0]]]
            notes.append(f"{_images(shared)} of {second} also in {first}: {shared[0]} is {twin}")
    return notes


def _inside(
    name: str, split: RawSplit, classes: tuple[str, ...], digests: dict[str, str]
) -> Iterator[str]:
    """Say which images of one split are the same, apart those that contradict one another."""
    first: dict[str, int] = {}
    again: list[tuple[int, int]] = []
    for index, image in enumerate(split.names):
        if image in digests:
            original = first.setdefault(digests[image], index)
            if original != index:
                again.append((index, original))
    agreeing = [pair for pair in again if split.labels[pair[0]] == split.labels[pair[1]]]
    contrary = [pair for pair in again if split.labels[pair[0]] != split.labels[pair[1]]]
    if agreeing:
        told = " is ".join(split.name(index) for index in agreeing[0])
        yield f"{_images(agreeing)} of {name} also elsewhere in {name}: {told}"
    if contrary:
        told = " is ".join(
            f"{split.name(index)} ({classes[split.labels[index]]})" for index in contrary[0]
        )
        yield f"{_images(contrary)} of {name} also in another class of it: {told}"


def _blocks(split: RawSplit) -> Iterator[list[tuple[str, Look | UserError]]]:
    def look_at(start: int) -> list[tuple[str, Look | UserError]]:
        stop = min(start + _BLOCK, len(split))
        return [(split.name(index), _look(split, index)) for index in range(start, stop)]

    # Pillow decodes and hashlib hashes outside the interpreter's lock.
    executor = ThreadPoolExecutor(max_workers=min(8, os.cpu_count() or 1))
    try:
        yield from executor.map(look_at, range(0, len(split), _BLOCK))
    finally:
        executor.shutdown(cancel_futures=True)


def _look(split: RawSplit, index: int) -> Look | UserError:
    try:
        image = to_rgb(split.image(index))
    except UserError as error:
        return error
    content = f"{image.size}".encode() + image.tobytes()
    return Look(image.size, _is_grey(image), hashlib.sha256(content).hexdigest())


def _is_grey(image: Image.Image) -> bool:
    red, green, blue = image.split()
    return not (
        ImageChops.difference(red, green).getbbox() or ImageChops.difference(red, blue).getbbox()
    )


def _images(found: list[str] | list[tuple[int, int]]) -> str:
    return f"{len(found)} image" if len(found) == 1 else f"{len(found)} images"
