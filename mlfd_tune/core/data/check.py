"""What `data check` and `data list` tell about datasets."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from itertools import combinations

import numpy as np

from mlfd_tune.core.data.decode import to_rgb
from mlfd_tune.core.data.raw import RawDataset, RawSplit
from mlfd_tune.core.data.registry import DATASETS
from mlfd_tune.core.data.spec import DatasetSpec
from mlfd_tune.core.data.splits import prepare_splits
from mlfd_tune.core.errors import UserError

__all__ = ["DatasetReport", "DatasetRow", "check_dataset", "list_datasets"]

IMBALANCE = 10  # largest to smallest class from which it is worth a word


@dataclass(frozen=True)
class DatasetReport:
    """What was found in a dataset.

    Attributes:
        name: The name it was asked for under.
        source: Its source's registry name.
        path: Its folder, for source folder.
        classes: Class names.
        counts: Images by split, then by class, as training will use them.
        problems: What stops it from being used, one line each.
        warnings: What may be wrong but does not stop it, one line each.
    """

    name: str
    source: str
    path: str | None
    classes: tuple[str, ...]
    counts: dict[str, dict[str, int]]
    problems: tuple[str, ...]
    warnings: tuple[str, ...]

    @property
    def ok(self) -> bool:
        """Whether the dataset can be used."""
        return not self.problems


@dataclass(frozen=True)
class DatasetRow:
    """One line of `data list`. Numbers are None where only the user's folder knows them.

    `problem` says what is missing to use the source, if anything.
    """

    name: str
    description: str
    classes: int | None
    train_images: int | None
    test_images: int | None
    flip: bool
    problem: str | None = None


def list_datasets() -> list[DatasetRow]:
    """Return a row for every dataset source."""
    return [_row(name) for name in DATASETS]


def check_dataset(
    name: str, spec: DatasetSpec, progress: Callable[[int, int], None] | None = None
) -> DatasetReport:
    """Open every image of a dataset and report all that is wrong or odd, without raising.

    Args:
        name: The dataset's name in the report.
        spec: The dataset.
        progress: Called with (images done, images in all).
    """
    found = DATASETS[spec.source]().inspect(spec)
    problems, warnings = list(found.problems), list(found.warnings)
    classes: tuple[str, ...] = ()
    counts: dict[str, dict[str, int]] = {}
    if found.raw is not None:
        classes = found.raw.classes
        digests, unreadable = _digests(found.raw, progress)
        problems += unreadable
        try:
            ready = prepare_splits(found.raw, spec)
        except UserError as error:
            problems += error.problems
            ready = found.raw
        counts = {split: _counts(images, classes) for split, images in ready.splits.items()}
        warnings += _duplicates(ready, digests)
        warnings += _class_notes(counts)
    return DatasetReport(
        name, spec.source, spec.path, classes, counts, tuple(problems), tuple(warnings)
    )


def _row(name: str) -> DatasetRow:
    try:
        source = DATASETS[name]()
    except UserError as error:  # a package that does not work; the other sources do
        return DatasetRow(name, "", None, None, None, False, "; ".join(error.problems))
    if source.path != "none":
        return DatasetRow(name, source.description, None, None, None, source.flip)
    found = source.inspect(DatasetSpec(source=name))
    if found.raw is None:
        problem = "; ".join(found.problems)
        return DatasetRow(name, source.description, None, None, None, source.flip, problem)
    sizes = {name: len(split) for name, split in found.raw.splits.items()}
    return DatasetRow(
        name,
        source.description,
        len(found.raw.classes),
        sizes["train"],
        sizes.get("test"),
        source.flip,
    )


def _digests(
    raw: RawDataset, progress: Callable[[int, int], None] | None
) -> tuple[dict[str, str], list[str]]:
    """Return the hash of every image's pixels by its name, and why the others cannot be read."""
    total = sum(len(split) for split in raw.splits.values())
    digests: dict[str, str] = {}
    unreadable: list[str] = []
    for split in raw.splits.values():
        for index in range(len(split)):
            try:
                image = to_rgb(split.image(index))
            except UserError as error:
                unreadable += error.problems
            else:
                content = f"{image.size}".encode() + image.tobytes()
                digests[split.name(index)] = hashlib.sha256(content).hexdigest()
            if progress:
                progress(len(digests) + len(unreadable), total)
    return digests, unreadable


def _counts(split: RawSplit, classes: tuple[str, ...]) -> dict[str, int]:
    counts = np.bincount(split.labels, minlength=len(classes))
    return {name: int(count) for name, count in zip(classes, counts, strict=True)}


def _duplicates(raw: RawDataset, digests: dict[str, str]) -> list[str]:
    """Say which splits share images: what was trained on is no test."""
    notes = []
    for first, second in combinations(raw.splits, 2):
        seen = {digests[name]: name for name in raw.splits[first].names if name in digests}
        shared = [name for name in raw.splits[second].names if digests.get(name) in seen]
        if shared:
            twin = seen[digests[shared[0]]]
            images = "image" if len(shared) == 1 else "images"
            notes.append(
                f"{len(shared)} {images} of {second} also in {first}: {shared[0]} is {twin}"
            )
    return notes


def _class_notes(counts: dict[str, dict[str, int]]) -> list[str]:
    notes = []
    for split, by_class in counts.items():
        absent = [name for name, count in by_class.items() if count == 0]
        if absent:
            noun = "class" if len(absent) == 1 else "classes"
            shown = ", ".join(absent[:12]) + (", ..." if len(absent) > 12 else "")
            notes.append(f"{split} has no image of {len(absent)} {noun}: {shown}")
    train = {name: count for name, count in counts.get("train", {}).items() if count > 0}
    if train:
        most, least = max(train, key=train.__getitem__), min(train, key=train.__getitem__)
        if train[most] >= IMBALANCE * train[least]:
            notes.append(
                f"classes are unbalanced: {train[most]} training images of {most!r}, "
                f"{train[least]} of {least!r}"
            )
    return notes
