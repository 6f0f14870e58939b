"""Stratified splits, fixed by a seed.

An image's place is decided by the hash of (seed, purpose, its name) and not by a random generator:
adding images to one class moves no image of another, the result is the same with any version of
NumPy, and a smaller training subset lies inside a larger one of the same seed (up to rounding).
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from mlfd_tune.core.data.raw import RawDataset, RawSplit
from mlfd_tune.core.errors import UserError

if TYPE_CHECKING:
    from mlfd_tune.core.data.spec import DatasetSpec

__all__ = ["prepare_splits", "stratified_folds", "stratified_split", "stratified_subset"]


def prepare_splits(raw: RawDataset, spec: DatasetSpec) -> RawDataset:
    """Return the dataset with exactly ``train``, ``val`` and ``test``, as training will use them.

    Test is carved first where none is shipped, then validation, then training is cut to
    `spec.train_size`. A dataset that went through once comes back unchanged.

    Raises:
        UserError: When `train_size` does not fit, or a split would be empty.
    """
    splits = dict(raw.splits)
    for name, fraction in (("test", spec.test_fraction), ("val", spec.val_fraction)):
        if name not in splits:
            splits["train"], splits[name] = stratified_split(
                splits["train"], fraction, spec.split_seed, purpose=name
            )
        if len(splits[name]) == 0:
            raise UserError(
                f"{spec.shown}: too few images to carve a {name} split: "
                "at least one class needs two training images"
            )
    if spec.train_size is not None:
        _require_size(spec, len(raw.classes), len(splits["train"]))
        splits["train"] = stratified_subset(splits["train"], spec.train_size, spec.split_seed)
    return RawDataset(raw.classes, {name: splits[name] for name in ("train", "val", "test")})


def stratified_split(
    split: RawSplit, fraction: float, seed: int, purpose: str = "val"
) -> tuple[RawSplit, RawSplit]:
    """Carve `fraction` of every class out of `split`.

    Every class keeps at least one image; a class of two or more gives at least one.

    Args:
        split: The images to divide.
        fraction: Share of each class to carve, in (0, 1).
        seed: Fixes the choice.
        purpose: What is carved; different purposes choose independently.

    Returns:
        The images kept and the images carved, both in the order of `split`.
    """
    carved = np.zeros(len(split), dtype=bool)
    for members in _by_class(split.labels):
        count = int(fraction * len(members) + 0.5)
        count = min(max(count, 1), len(members) - 1)
        carved[_in_hash_order(split.names, members, seed, purpose)[:count]] = True
    return split.subset(np.flatnonzero(~carved)), split.subset(np.flatnonzero(carved))


def stratified_subset(split: RawSplit, size: int, seed: int) -> RawSplit:
    """Keep `size` images with the classes in proportion and at least one image of each.

    Args:
        split: The images to choose from.
        size: From the number of classes present to ``len(split)``.
        seed: Fixes the choice.

    Raises:
        ValueError: When `size` is outside that range.
    """
    classes = _by_class(split.labels)
    counts = np.array([len(members) for members in classes])
    if not len(classes) <= size <= len(split):
        raise ValueError(f"size {size} is not in {len(classes)}..{len(split)}")
    chosen = [
        _in_hash_order(split.names, members, seed, "subset")[:share]
        for members, share in zip(classes, _shares(counts, size), strict=True)
    ]
    return split.subset(np.sort(np.concatenate(chosen)))


def stratified_folds(
    labels: NDArray[np.int64], names: Sequence[str], folds: int, seed: int
) -> NDArray[np.int64]:
    """Deal every class's images out to folds whose shares of it differ by one image at most.

    Args:
        labels: (N,) class indices.
        names: N names, which decide together with the seed where an image goes.
        folds: How many folds.
        seed: Fixes the choice.

    Returns:
        (N,) int64, the number of each image's fold.
    """
    fold_of = np.zeros(len(labels), dtype=np.int64)
    for members in _by_class(labels):
        dealt = _in_hash_order(names, members, seed, "fold")
        # Each class begins at another fold, else the first ones would get all that is left over.
        fold_of[dealt] = (np.arange(len(members)) + labels[members[0]]) % folds
    return fold_of


def _shares(counts: NDArray[np.int64], size: int) -> list[int]:
    """Divide `size` in proportion to `counts` by largest remainder, nobody below one."""
    quota = size * counts / counts.sum()
    shares = np.maximum(1, np.floor(quota)).astype(int)
    while shares.sum() < size:
        shares[np.argmax(np.where(shares < counts, quota - shares, -np.inf))] += 1
    while shares.sum() > size:  # raising small classes to one may overshoot
        shares[np.argmax(np.where(shares > 1, shares - quota, -np.inf))] -= 1
    return [int(share) for share in shares]


def _by_class(labels: NDArray[np.int64]) -> list[NDArray[np.int64]]:
    return [np.flatnonzero(labels == label) for label in np.unique(labels)]


def _in_hash_order(
    names: Sequence[str], members: NDArray[np.int64], seed: int, purpose: str
) -> NDArray[np.int64]:
    def key(index: int) -> bytes:
        return hashlib.sha256(f"{seed}/{purpose}/{names[index]}".encode()).digest()

    return np.array(sorted(members.tolist(), key=key), dtype=np.int64)


def _require_size(spec: DatasetSpec, classes: int, available: int) -> None:
    if spec.train_size is not None and not classes <= spec.train_size <= available:
        raise UserError(
            f"{spec.shown}: train_size {spec.train_size} is not possible (allowed: {classes}, one "
            f"image a class, to {available}, the training images left after validation)"
        )
