"""Datasets as lists: a CSV file beside its images, and what the library `datasets` writes."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from datasets import ClassLabel, Dataset, DatasetDict, Features, Image, Value

from mlfd_tune.core.data import DATASETS, DatasetSpec, RawSplit


def digit_pictures(split: str, classes: int, per_class: int) -> list[tuple[int, bytes]]:
    """Return the labels and PNG files of the first digits of a split."""
    images = _digits().splits[split] if split in _digits().splits else _digits().splits["train"]
    chosen = [np.flatnonzero(images.labels == label)[:per_class] for label in range(classes)]
    return [
        (label, _png(images, int(index))) for label, found in enumerate(chosen) for index in found
    ]


def write_list(root: Path, classes: int = 2, per_class: int = 4, test_per_class: int = 2) -> Path:
    """Write ``root/list.csv`` and ``root/pictures/*.png``.

    The columns are path, label and, where there are test images, split; the labels are
    ``digit 0``, ``digit 1``.

    Returns:
        The CSV file.
    """
    rows = []
    for split, count in (("train", per_class), ("test", test_per_class)):
        for number, (label, content) in enumerate(digit_pictures(split, classes, count)):
            path = f"pictures/{split}_{number:03d}.png"
            (root / path).parent.mkdir(parents=True, exist_ok=True)
            (root / path).write_bytes(content)
            rows.append([path, f"digit {label}", split])
    if test_per_class == 0:
        rows = [row[:2] for row in rows]
    return write_rows(root / "list.csv", [["path", "label", "split"][: len(rows[0])], *rows])


def write_rows(path: Path, rows: Sequence[Sequence[str]]) -> Path:
    """Write the lines of a CSV file."""
    with path.open("w", encoding="utf-8", newline="") as file:
        csv.writer(file).writerows(rows)
    return path


def digit_table(split: str, classes: int = 3, per_class: int = 4) -> Dataset:
    """Return a table with the columns image, label and note, as `datasets` has it."""
    pictures = digit_pictures(split, classes, per_class)
    features = Features(
        {
            "image": Image(),
            "label": ClassLabel(names=[f"digit {label}" for label in range(classes)]),
            "note": Value("string"),
        }
    )
    return Dataset.from_dict(
        {
            "image": [{"bytes": content, "path": None} for _, content in pictures],
            "label": [label for label, _ in pictures],
            "note": ["" for _ in pictures],
        },
        features=features,
    )


def write_saved(root: Path, **tables: Dataset) -> Path:
    """Write what `DatasetDict.save_to_disk` writes; by default the splits train and test.

    Returns:
        `root`.
    """
    DatasetDict(tables or _default_tables()).save_to_disk(root)
    return root


def write_parquet(root: Path, shards: int = 1, **tables: Dataset) -> Path:
    """Write the files of a dataset repository of the hub: ``data/<split>-00000-of-00001.parquet``.

    Returns:
        `root`.
    """
    (root / "data").mkdir(parents=True)
    for split, table in (tables or _default_tables()).items():
        for number in range(shards):
            part = table.shard(shards, number, contiguous=True)
            part.to_parquet(root / "data" / f"{split}-{number:05d}-of-{shards:05d}.parquet")
    return root


def _default_tables() -> dict[str, Dataset]:
    return {"train": digit_table("train"), "test": digit_table("test", per_class=2)}


def _digits():
    return DATASETS["digits"]().load(DatasetSpec(source="digits"))


def _png(images: RawSplit, index: int) -> bytes:
    file = io.BytesIO()
    images.image(index).save(file, "png")
    return file.getvalue()
