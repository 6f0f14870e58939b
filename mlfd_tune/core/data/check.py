"""What `data check` and `data list` tell about datasets."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np

from mlfd_tune.core.data.check_images import ImageSummary, look_at_all, summary, twins
from mlfd_tune.core.data.raw import RawDataset, RawSplit
from mlfd_tune.core.data.registry import DATASETS
from mlfd_tune.core.data.spec import DatasetSpec
from mlfd_tune.core.data.splits import prepare_splits
from mlfd_tune.core.data.views import as_asked
from mlfd_tune.core.errors import UserError

__all__ = ["DatasetReport", "DatasetRow", "check_dataset", "list_datasets"]

IMBALANCE = 10  # largest to smallest class from which it is worth a word


@dataclass(frozen=True)
class DatasetReport:
    """What was found in a dataset.

    Attributes:
        name: The name it was asked for under.
        source: Its source's registry name.
        path: Where it lies, for sources that have a path.
        classes: Class names.
        counts: Images by split, then by class, as training will use them.
        images: What the images are like; None where none can be opened.
        problems: What stops it from being used, one line each.
        warnings: What may be wrong but does not stop it, one line each.
    """

    name: str
    source: str
    path: str | None
    classes: tuple[str, ...]
    counts: dict[str, dict[str, int]]
    images: ImageSummary | None
    problems: tuple[str, ...]
    warnings: tuple[str, ...]

    @property
    def ok(self) -> bool:
        """Whether the dataset can be used."""
        return not self.problems


@dataclass(frozen=True)
class DatasetRow:
    """One line of `data list`. Numbers are None where only the user's files know them.

    Those of a published dataset are what it holds when it is whole.

    Attributes:
        name: The source's registry name.
        description: One line for people.
        classes: How many classes.
        train_images: Training images, before a validation split is carved.
        val_images: Validation images; None where they are carved from the training images.
        test_images: Test images; None where they are carved from the training images too.
        flip: Whether a horizontal flip is known to keep an image's label.
        path: Whether a path must, may or must not be given: required, optional or none.
        problem: What is missing to use the source, if anything.
    """

    name: str
    description: str
    classes: int | None = None
    train_images: int | None = None
    val_images: int | None = None
    test_images: int | None = None
    flip: bool = False
    path: str = "none"
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
    asked: RawDataset | None = None
    try:
        asked = None if found.raw is None else as_asked(found.raw, spec)
    except UserError as error:  # classes that it has not
        problems += error.problems
    if asked is None:
        return DatasetReport(
            name, spec.source, spec.path, (), {}, None, tuple(problems), tuple(warnings)
        )
    looks, unreadable = look_at_all(asked, progress)
    problems += unreadable
    try:
        ready = prepare_splits(asked, spec)
    except UserError as error:
        problems += error.problems
        ready = asked
    counts = {split: _counts(images, asked.classes) for split, images in ready.splits.items()}
    warnings += twins(ready, looks)
    warnings += _class_notes(counts)
    return DatasetReport(
        name,
        spec.source,
        spec.path,
        asked.classes,
        counts,
        summary(looks.values()),
        tuple(problems),
        tuple(warnings),
    )


def _row(name: str) -> DatasetRow:
    try:
        source = DATASETS[name]()
    except UserError as error:  # a package that does not work; the other sources do
        return DatasetRow(name, "", problem="; ".join(error.problems))
    known = DatasetRow(name, source.description, flip=source.flip, path=source.path)
    if source.official is not None:
        return _counted(known, source.official.classes, source.official.images)
    if source.path != "none":
        return known
    found = source.inspect(DatasetSpec(source=name))
    if found.raw is None:
        return replace(known, problem="; ".join(found.problems))
    sizes = {split: len(images) for split, images in found.raw.splits.items()}
    return _counted(known, len(found.raw.classes), sizes)


def _counted(row: DatasetRow, classes: int, sizes: dict[str, int]) -> DatasetRow:
    val, test = sizes.get("val"), sizes.get("test")
    return replace(
        row, classes=classes, train_images=sizes["train"], val_images=val, test_images=test
    )


def _counts(split: RawSplit, classes: tuple[str, ...]) -> dict[str, int]:
    counts = np.bincount(split.labels, minlength=len(classes))
    return {name: int(count) for name, count in zip(classes, counts, strict=True)}


def _class_notes(counts: dict[str, dict[str, int]]) -> list[str]:
    notes = [
        f"{split} has no image of {_classes(absent)}"
        for split, by_class in counts.items()
        if (absent := [name for name, count in by_class.items() if count == 0])
    ]
    train = {name: count for name, count in counts.get("train", {}).items() if count > 0}
    single = [name for name, count in train.items() if count == 1]
    if single:
        notes.append(f"train has a single image of {_classes(single)}")
    if train:
        most, least = max(train, key=train.__getitem__), min(train, key=train.__getitem__)
        if train[most] >= IMBALANCE * train[least]:
            notes.append(
                f"classes are unbalanced: {train[most]} training images of {most!r}, "
                f"{train[least]} of {least!r}"
            )
    return notes


def _classes(names: list[str]) -> str:
    noun = "class" if len(names) == 1 else "classes"
    return f"{len(names)} {noun}: {', '.join(names[:12])}" + (", ..." if len(names) > 12 else "")
