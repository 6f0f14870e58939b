"""Expected calibration error, against a plain statement of Guo et al. 2017, Eq. 3."""

from __future__ import annotations

import numpy as np
import pytest

from mlfd_tune.core.calibration import BINS, calibration_bins, expected_calibration_error


def answers(images: int = 400, classes: int = 5) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    return 3 * rng.normal(size=(images, classes)), rng.integers(classes, size=images)


def stated(logits: np.ndarray, labels: np.ndarray, bins: int) -> float:
    """Sum over the bins ((m-1)/M, m/M], image by image."""
    probabilities = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    error = 0.0
    for m in range(1, bins + 1):
        members = [i for i, p in enumerate(probabilities) if (m - 1) / bins < p.max() <= m / bins]
        if members:
            accuracy = np.mean([probabilities[i].argmax() == labels[i] for i in members])
            confidence = np.mean([probabilities[i].max() for i in members])
            error += len(members) / len(labels) * abs(accuracy - confidence)
    return 100 * error


@pytest.mark.parametrize("bins", [1, 10, BINS])
def test_the_error_is_the_equation_of_the_paper_in_percent(bins):
    logits, labels = answers()
    found = expected_calibration_error(calibration_bins(logits, labels, bins))
    assert found == pytest.approx(stated(logits, labels, bins))


def test_bins_hold_every_image_once_between_their_edges():
    logits, labels = answers()
    bins = calibration_bins(logits, labels)
    assert bins.counts.sum() == len(labels)
    np.testing.assert_allclose(bins.edges, np.arange(BINS + 1) / BINS)
    filled = bins.counts > 0
    assert (bins.confidence[filled] > bins.edges[:-1][filled]).all()
    assert (bins.confidence[filled] <= bins.edges[1:][filled]).all()
    assert not bins.confidence[~filled].any()
    assert not bins.accuracy[~filled].any()
    right = (logits.argmax(axis=1) == labels).mean()
    assert (bins.counts * bins.accuracy).sum() / len(labels) == pytest.approx(right)


def test_a_confidence_on_an_edge_belongs_to_the_bin_that_ends_there():
    halves = np.zeros((1, 2))
    assert calibration_bins(halves, [0], 2).counts.tolist() == [1, 0]
    assert calibration_bins([[1000.0, 0.0]], [0], 2).counts.tolist() == [0, 1]


def test_sure_and_right_is_calibrated_and_sure_and_wrong_is_not():
    sure = np.eye(3) * 1000
    assert expected_calibration_error(calibration_bins(sure, [0, 1, 2])) == 0
    assert expected_calibration_error(calibration_bins(sure, [1, 2, 0])) == 100


def test_no_images_and_no_bins_are_refused():
    with pytest.raises(ValueError, match="no images"):
        calibration_bins(np.empty((0, 3)), [])
    with pytest.raises(ValueError, match="one bin"):
        calibration_bins(np.eye(3), [0, 1, 2], bins=0)
