"""Which photograph is this piece from? 17 pictures bundled with scikit-image and scikit-learn.

Each picture is cut into square tiles that do not touch one another: training tiles from the left
70 %, test tiles from the right 30 %. No two tiles share a pixel, so a validation split carved from
the training tiles does not leak either.
"""

from __future__ import annotations

import hashlib
from importlib.resources import files
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

import numpy as np
from PIL import Image

from mlfd_tune.core.data.decode import to_rgb
from mlfd_tune.core.data.raw import RawDataset, RawSplit
from mlfd_tune.core.data.source import DatasetSource, Fingerprint
from mlfd_tune.core.errors import UserError

if TYPE_CHECKING:
    from mlfd_tune.core.data.spec import DatasetSpec

__all__ = ["Photos"]

VERSION = 1
TRAIN_SHARE = 0.7  # of each picture's width
TILES = {"train": 60, "test": 20}  # of each picture

# Read as files: asking `skimage.data` for them needs pooch and may reach for the network.
PICTURES = {
    "astronaut": "skimage/data/astronaut.png",
    "brick": "skimage/data/brick.png",
    "camera": "skimage/data/camera.png",
    "cat": "skimage/data/chelsea.png",
    "china": "sklearn/datasets/images/china.jpg",
    "coffee": "skimage/data/coffee.png",
    "coins": "skimage/data/coins.png",
    "flower": "sklearn/datasets/images/flower.jpg",
    "grass": "skimage/data/grass.png",
    "gravel": "skimage/data/gravel.png",
    "hubble": "skimage/data/hubble_deep_field.jpg",
    "moon": "skimage/data/moon.png",
    "motorcycle": "skimage/data/motorcycle_left.png",
    "page": "skimage/data/page.png",
    "retina": "skimage/data/retina.jpg",
    "rocket": "skimage/data/rocket.jpg",
    "tissue": "skimage/data/ihc.png",
}

Box: TypeAlias = tuple[int, int, int, int]


class Photos(DatasetSource):
    """Tiles of 17 photographs; the class is the photograph."""

    name = "photos"
    description = "tiles of 17 photographs from scikit-image and scikit-learn; class = photograph"
    flip = True

    def fingerprint(self, spec: DatasetSpec) -> Fingerprint:
        """Return the version of this file and the hash of the pictures' files."""
        content = hashlib.sha256()
        for path in _picture_files():
            content.update(path.read_bytes())
        return {"source": self.name, "version": VERSION, "sha256": content.hexdigest()}

    def load(self, spec: DatasetSpec) -> RawDataset:
        """Return the train and test splits.

        Raises:
            UserError: When scikit-image is not installed or lacks a picture.
        """
        pictures = []
        for path in _picture_files():
            with Image.open(path) as picture:
                pictures.append(to_rgb(picture))
        return RawDataset(tuple(PICTURES), {name: _split(name, pictures) for name in TILES})


def tile_boxes(width: int, height: int) -> dict[str, list[Box]]:
    """Return the boxes of a picture's training and test tiles, all of one size, none overlapping.

    The tiles are as large as they can be while both sides hold enough of them.
    """
    border = int(width * TRAIN_SHARE)
    sides = {"train": (0, border), "test": (border, width)}
    for edge in range(min(border, width - border, height), 0, -1):
        grids = {name: _grid(*sides[name], height, edge) for name in TILES}
        if all(len(grids[name]) >= TILES[name] for name in TILES):
            return {name: _evenly(grids[name], TILES[name]) for name in TILES}
    raise ValueError(f"a picture of {width}x{height} pixels is too small for {TILES} tiles")


def _split(name: str, pictures: list[Image.Image]) -> RawSplit:
    boxes = [box for picture in pictures for box in tile_boxes(*picture.size)[name]]
    labels = np.repeat(np.arange(len(pictures), dtype=np.int64), TILES[name])
    classes = tuple(PICTURES)
    names = (f"{name}/{classes[label]}/{index:04d}" for index, label in enumerate(labels))
    return RawSplit(labels, tuple(names), lambda index: pictures[labels[index]].crop(boxes[index]))


def _grid(left: int, right: int, height: int, edge: int) -> list[Box]:
    return [
        (x, y, x + edge, y + edge)
        for y in range(0, height - edge + 1, edge)
        for x in range(left, right - edge + 1, edge)
    ]


def _evenly(boxes: list[Box], count: int) -> list[Box]:
    return [boxes[index * len(boxes) // count] for index in range(count)]


def _picture_files() -> list[Path]:
    if find_spec("skimage") is None:
        raise UserError("dataset 'photos' needs scikit-image: run pip install 'mlfd-tune[photos]'")
    paths = []
    for picture in PICTURES.values():
        package, _, inside = picture.partition("/")
        path = Path(str(files(package))) / inside
        if not path.is_file():
            raise UserError(f"dataset 'photos': {picture} is missing; reinstall {package}")
        paths.append(path)
    return paths
