"""From the files of one of CIFAR's forms to its splits."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from itertools import chain
from pathlib import Path

import numpy as np
from PIL import Image

from mlfd_tune.core.data.published.cifar_files import Batch, Form, Labels
from mlfd_tune.core.data.raw import RawDataset, RawSplit
from mlfd_tune.core.errors import UserError

__all__ = ["missing_files", "read_form"]


def read_form(form: Form, root: Path, labels: Labels) -> RawDataset:
    """Return the train and test split in a form's files.

    Args:
        form: The form.
        root: The folder that the files lie in.
        labels: How the images are labelled.

    Raises:
        UserError: What is wrong with any of the files, all at once.
    """
    problems = missing_files(form, root)
    batches: dict[str, Batch] = {}
    classes: tuple[str, ...] = ()
    for file in (*form.train, form.test):
        if (root / file).is_file():
            try:
                batches[file] = form.batch(root, file, labels)
            except UserError as error:
                problems += error.problems
    if (root / form.names_file(labels)).is_file():
        try:
            classes = form.class_names(root, labels)
        except UserError as error:
            problems += error.problems
    train = [batches[file] for file in form.train if file in batches]
    if not problems:
        problems += _one_class(form, root, classes, train)
    if problems:
        raise UserError(*problems)
    test = [batches[form.test]]
    return RawDataset(classes, {"train": _split("train", train), "test": _split("test", test)})


def missing_files(form: Form, root: Path) -> list[str]:
    """Return a problem for each of the form's files that is not there."""
    return [
        f"{file} in dataset folder {root} is missing; unpack {form.archive} again"
        for file in form.files
        if not (root / file).is_file()
    ]


def _one_class(
    form: Form, root: Path, classes: tuple[str, ...], train: Sequence[Batch]
) -> Iterator[str]:
    seen = set(chain.from_iterable(batch.labels.tolist() for batch in train))
    if len(seen) == 1:
        yield (
            f"{', '.join(form.train)} in dataset folder {root}: all images are of one class "
            f"({classes[min(seen)]!r}); at least two are needed"
        )


def _split(name: str, batches: Sequence[Batch]) -> RawSplit:
    # Views of the batches, not one array of them all: nothing is held twice.
    pixels = list(chain.from_iterable(batch.pixels for batch in batches))

    def picture(index: int) -> Image.Image:
        planes = pixels[index].reshape(3, 32, 32)
        return Image.fromarray(np.ascontiguousarray(planes.transpose(1, 2, 0)))

    labels = np.concatenate([batch.labels for batch in batches])
    return RawSplit(labels, tuple(_names(name, batches)), picture)


def _names(split: str, batches: Sequence[Batch]) -> Iterator[str]:
    """Name the images after their own files where those are known, else by their number."""
    seen: Counter[str] = Counter()
    for batch in batches:
        numbers = range(seen.total(), seen.total() + len(batch.labels))
        for name in batch.names or [f"{number:05d}" for number in numbers]:
            seen[name] += 1
            yield f"{split}/{name}" if seen[name] == 1 else f"{split}/{name}#{seen[name]}"
