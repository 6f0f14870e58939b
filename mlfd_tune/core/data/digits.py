"""Handwritten digits: scikit-learn's 1,797 scans of 8x8 grey pixels, 10 classes."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from mlfd_tune.core.data.raw import RawDataset, RawSplit
from mlfd_tune.core.data.source import DatasetSource, Fingerprint
from mlfd_tune.core.data.splits import stratified_split

if TYPE_CHECKING:
    from mlfd_tune.core.data.spec import DatasetSpec

__all__ = ["Digits"]

VERSION = 1
TEST_FRACTION = 0.2
TEST_SEED = 0  # the test split is a property of the data: no setting moves it


class Digits(DatasetSource):
    """The digits 0-9, with a fixed stratified fifth of them as the test split."""

    name = "digits"
    description = "handwritten digits 0-9, 8x8 grey pixels (scikit-learn)"
    flip = False

    def fingerprint(self, spec: DatasetSpec) -> Fingerprint:
        """Return the version of this file and the hash of scikit-learn's pixels and labels."""
        pixels, labels = _scans()
        content = hashlib.sha256(pixels.tobytes() + labels.tobytes()).hexdigest()
        return {"source": self.name, "version": VERSION, "sha256": content}

    def load(self, spec: DatasetSpec) -> RawDataset:
        """Return the train and test splits."""
        pixels, labels = _scans()
        everything = RawSplit(
            labels=labels,
            names=tuple(f"digits/{index:04d}" for index in range(len(labels))),
            open_image=lambda index: Image.fromarray(pixels[index]),
        )
        train, test = stratified_split(everything, TEST_FRACTION, TEST_SEED, purpose="test")
        return RawDataset(tuple("0123456789"), {"train": train, "test": test})


def _scans() -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """Return (1797, 8, 8) pixels stretched from 0-16 to 0-255, and their labels."""
    from sklearn.datasets import load_digits

    scans = load_digits()
    pixels = np.rint(scans.images * (255 / 16)).astype(np.uint8)
    return pixels, scans.target.astype(np.int64)
