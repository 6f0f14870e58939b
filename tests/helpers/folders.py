"""Folder datasets written out of the built-ins, in any image format."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from mlfd_tune.core.data import DATASETS, DatasetSpec


def write_folder_dataset(
    root: Path,
    source: str,
    classes: int | Sequence[str],
    per_class: int,
    test_per_class: int = 0,
    suffix: str = ".png",
) -> Path:
    """Write ``root/train/<class>/*`` and, if asked for, ``root/test/<class>/*``.

    Args:
        root: The dataset's folder; made if missing.
        source: The built-in to take images from: digits, letters or photos.
        classes: The names of the classes, or how many of the first ones.
        per_class: Training images of each class; the source must have that many.
        test_per_class: Test images of each class; none writes no ``test/``.
        suffix: The image format, as a file name ends: png, jpg, webp, bmp.

    Returns:
        `root`.
    """
    raw = DATASETS[source]().load(DatasetSpec(source=source))
    names = raw.classes[:classes] if isinstance(classes, int) else tuple(classes)
    for split, count in (("train", per_class), ("test", test_per_class)):
        images = raw.splits[split]
        for name in names:
            members = np.flatnonzero(images.labels == raw.classes.index(name))
            if len(members) < count:
                raise ValueError(f"{source} has {len(members)} {split} images of {name!r}")
            for number, index in enumerate(members[:count].tolist()):
                path = root / split / name / f"{number:04d}.{suffix.lstrip('.')}"
                path.parent.mkdir(parents=True, exist_ok=True)
                images.image(index).save(path)
    return root
