"""Small copies of TinyImageNet and ImageNet-Sketch in their official layouts.

The pictures are tiles of the photos built-in, for ImageNet-Sketch with only their edges drawn.
"""

from __future__ import annotations

from functools import cache
from pathlib import Path

import numpy as np
from PIL import Image

from mlfd_tune.core.data import DATASETS, DatasetSpec
from mlfd_tune.core.data.raw import RawDataset
from mlfd_tune.core.data.styles import STYLES

# The official wnids.txt is not sorted either.
TINY_WNIDS = ("n02124075", "n04067472", "n04540053", "n04099969", "n07749582", "n01641577")
TINY_WNIDS += ("n02802426", "n09246464", "n07920052", "n03970156", "n03891332", "n02106662")
SKETCH_WNIDS = ("n01440764", "n01443537", "n01484850", "n01491361", "n01494475", "n01496331")
SKETCH_WNIDS += ("n01498041", "n01514668", "n01514859", "n01518878", "n01530575", "n01531178")


def write_tinyimagenet(
    root: Path, classes: int = 3, per_class: int = 6, test_per_class: int = 2
) -> Path:
    """Write ``root/tiny-imagenet-200`` with every file that the published one has.

    Args:
        root: The folder to write into; made if missing.
        classes: How many classes, up to 12.
        per_class: Training images of each class, up to 60.
        test_per_class: Validation images of each class, which the platform tests on, up to 20.

    Returns:
        `root`.
    """
    folder, wnids = root / "tiny-imagenet-200", TINY_WNIDS[:classes]
    boxes: dict[str, list[str]] = {wnid: [] for wnid in wnids}
    for kind, number, image in _pictures("train", classes, per_class):
        name = f"{wnids[kind]}_{number}.JPEG"
        boxes[wnids[kind]].append(f"{name}\t0\t10\t63\t58\n")
        _save(image, folder / "train" / wnids[kind] / "images" / name, side=64)
    for wnid, rows in boxes.items():
        (folder / "train" / wnid / f"{wnid}_boxes.txt").write_text("".join(rows))
    annotations = []
    shown = _pictures("val", classes, test_per_class)
    for index, (kind, _, image) in enumerate(shown):
        annotations.append(f"val_{index}.JPEG\t{wnids[kind]}\t0\t32\t44\t62\n")
        _save(image, folder / "val/images" / f"val_{index}.JPEG", side=64)
        _save(image, folder / "test/images" / f"test_{index}.JPEG", side=64)
    (folder / "val/val_annotations.txt").write_text("".join(annotations))
    (folder / "wnids.txt").write_text("".join(f"{wnid}\n" for wnid in wnids))
    (folder / "words.txt").write_text("".join(f"{wnid}\tthing, object\n" for wnid in wnids))
    return root


def write_imagenet_sketch(root: Path, classes: int = 3, per_class: int = 10) -> Path:
    """Write ``root/sketch/<wnid>/sketch_<number>.JPEG``.

    Args:
        root: The folder to write into; made if missing.
        classes: How many classes, up to 12.
        per_class: Images of each class, up to 60.

    Returns:
        `root`.
    """
    for kind, number, image in _pictures("train", classes, per_class):
        path = root / "sketch" / SKETCH_WNIDS[kind] / f"sketch_{number}.JPEG"
        _save(STYLES["edges"](image), path, side=96)
    return root


def rearrange_val(root: Path, inner: str = "images") -> None:
    """Sort TinyImageNet's validation images into folders of their classes, as many people do."""
    val = root / "tiny-imagenet-200/val"
    for row in (val / "val_annotations.txt").read_text().splitlines():
        name, wnid, *_ = row.split("\t")
        (val / wnid / inner).mkdir(parents=True, exist_ok=True)
        (val / "images" / name).rename(val / wnid / inner / name)
    (val / "images").rmdir()


def _save(image: Image.Image, path: Path, side: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    image.resize((side, side), Image.Resampling.BILINEAR).save(path, format="JPEG", quality=90)


def _pictures(split: str, classes: int, per_class: int) -> list[tuple[int, int, Image.Image]]:
    """Return class, number within it, and picture; ``val`` shows the photos' test tiles."""
    images = _photos().splits["test" if split == "val" else split]
    found = []
    for kind in range(classes):
        members = np.flatnonzero(images.labels == kind)[:per_class].tolist()
        if len(members) < per_class:
            raise ValueError(f"there are {len(members)} pictures of a class")
        found += [(kind, number, images.image(index)) for number, index in enumerate(members)]
    return found


@cache
def _photos() -> RawDataset:
    return DATASETS["photos"]().load(DatasetSpec(source="photos"))
