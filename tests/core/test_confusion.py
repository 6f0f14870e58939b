"""Confusion matrices, against scikit-learn."""

from __future__ import annotations

import numpy as np
from sklearn.metrics import confusion_matrix as reference
from sklearn.metrics import recall_score

from mlfd_tune.core.confusion import Confusion, confusion_matrix, most_confused, per_class_accuracy


def drawn(images: int = 300, classes: int = 6) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    labels = rng.integers(classes, size=images)
    return np.where(rng.random(images) < 0.6, labels, rng.integers(classes, size=images)), labels


def test_counts_are_those_of_scikit_learn():
    predicted, labels = drawn()
    matrix = confusion_matrix(predicted, labels, 6)
    np.testing.assert_array_equal(matrix, reference(labels, predicted, labels=range(6)))


def test_the_accuracy_of_a_class_is_its_recall():
    predicted, labels = drawn()
    found = per_class_accuracy(confusion_matrix(predicted, labels, 6))
    np.testing.assert_allclose(found, 100 * recall_score(labels, predicted, average=None))


def test_a_class_without_images_has_a_row_but_no_accuracy():
    matrix = confusion_matrix([0, 2], [0, 0], 3)
    assert matrix.tolist() == [[1, 0, 1], [0, 0, 0], [0, 0, 0]]
    np.testing.assert_array_equal(per_class_accuracy(matrix), [50, np.nan, np.nan])


def test_the_most_frequent_mistakes_go_first_and_of_equals_the_larger_share():
    matrix = np.array([[5, 2, 0], [2, 1, 1], [0, 3, 9]])
    assert most_confused(matrix) == [
        Confusion(2, 1, 3, 25.0),
        Confusion(1, 0, 2, 50.0),
        Confusion(0, 1, 2, 200 / 7),
        Confusion(1, 2, 1, 25.0),
    ]
    assert len(most_confused(matrix, 2)) == 2
    assert most_confused(np.diag([1, 2])) == []
