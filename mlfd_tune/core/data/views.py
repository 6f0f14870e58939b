"""Parts and styles of a dataset: some of its classes, its images shown otherwise."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from mlfd_tune.core.data.raw import RawDataset, RawSplit
from mlfd_tune.core.data.styles import STYLES, StyleName
from mlfd_tune.core.errors import UserError, allowed_values

if TYPE_CHECKING:
    from mlfd_tune.core.data.spec import DatasetSpec

__all__ = ["as_asked"]


def as_asked(raw: RawDataset, spec: DatasetSpec) -> RawDataset:
    """Return the classes that `spec` keeps, in its style.

    Raises:
        UserError: The dataset has no class of a name.
    """
    classes = raw.classes
    splits = dict(raw.splits)
    if spec.classes is not None:
        problems = [
            f"{spec.shown}: classes: unknown class {name!r} {allowed_values(name, classes)}"
            for name in spec.classes
            if name not in classes
        ]
        if problems:
            raise UserError(*problems)
        old = [classes.index(name) for name in spec.classes]
        splits = {name: _only(split, old) for name, split in splits.items()}
        classes = spec.classes
    if spec.style != "none":
        splits = {name: _styled(split, spec.style) for name, split in splits.items()}
    return RawDataset(classes, splits)


def _only(split: RawSplit, labels: list[int]) -> RawSplit:
    """Keep the images of some labels, which are numbered anew in the order given."""
    kept = split.subset(np.flatnonzero(np.isin(split.labels, labels)))
    new = {label: number for number, label in enumerate(labels)}
    numbers = np.array([new[label] for label in kept.labels.tolist()], dtype=np.int64)
    return RawSplit(numbers, kept.names, kept.open_image)


def _styled(split: RawSplit, style: StyleName) -> RawSplit:
    show = STYLES[style]
    return RawSplit(split.labels, split.names, lambda index: show(split.image(index)))
