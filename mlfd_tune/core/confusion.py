"""What a classifier takes for what: confusion matrix, accuracy per class, frequent mistakes."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

__all__ = ["Confusion", "confusion_matrix", "most_confused", "per_class_accuracy"]


@dataclass(frozen=True)
class Confusion:
    """One kind of mistake.

    Attributes:
        true: The class of the images.
        predicted: What they are taken for.
        count: How many of them.
        share: How many of them, in percent of the class's images.
    """

    true: int
    predicted: int
    count: int
    share: float


def confusion_matrix(
    predicted: ArrayLike, labels: ArrayLike, num_classes: int
) -> NDArray[np.int64]:
    """Return how many images of each class were taken for which.

    Args:
        predicted: (N,) class indices answered.
        labels: (N,) class indices that are right.
        num_classes: K.

    Returns:
        (K, K) counts ``[true, predicted]``.
    """
    pairs = np.asarray(labels, dtype=np.int64) * num_classes + np.asarray(predicted, dtype=np.int64)
    counts = np.bincount(pairs, minlength=num_classes**2)
    return counts.reshape(num_classes, num_classes).astype(np.int64)


def per_class_accuracy(matrix: NDArray[np.int64]) -> NDArray[np.float64]:
    """Return each class's accuracy (K,) in percent; NaN for a class without images.

    Args:
        matrix: (K, K) counts ``[true, predicted]``.
    """
    images = matrix.sum(axis=1)
    accuracy = np.full(len(images), np.nan)
    np.divide(100.0 * matrix.diagonal(), images, out=accuracy, where=images > 0)
    return accuracy


def most_confused(matrix: NDArray[np.int64], count: int = 10) -> list[Confusion]:
    """Return the most frequent mistakes, most images first.

    Of mistakes equally frequent, the one with the larger share of its class goes first, then the
    one whose classes come first. What never happened is left out.

    Args:
        matrix: (K, K) counts ``[true, predicted]``.
        count: The most mistakes to return.
    """
    images = matrix.sum(axis=1)
    mistakes = [
        Confusion(true, predicted, n, 100.0 * n / int(images[true]))
        for true, predicted in np.argwhere(matrix > 0).tolist()
        if true != predicted and (n := int(matrix[true, predicted]))
    ]
    mistakes.sort(key=lambda one: (-one.count, -one.share, one.true, one.predicted))
    return mistakes[:count]
