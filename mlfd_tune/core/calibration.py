"""Calibration: whether a network is right as often as it is sure (Guo et al. 2017).

The confidence of an answer is the probability that softmax gives the class answered. Images are
sorted into bins by it; in each bin the mean confidence is compared with the share of right answers.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import special

__all__ = ["BINS", "CalibrationBins", "calibration_bins", "expected_calibration_error"]

BINS = 15
"""Bins of equal width, as Guo et al. report them (section 2; M = 15 in their tables)."""


@dataclass(frozen=True, eq=False)
class CalibrationBins:
    """The images of a split by how sure a network is of its answer; a reliability diagram's data.

    Attributes:
        edges: (B+1,) ends of the bins in [0, 1], rising. Bin b is the interval
            ``(edges[b], edges[b+1]]``.
        counts: (B,) images in each bin.
        confidence: (B,) mean confidence in [0, 1]; 0 in a bin without images.
        accuracy: (B,) share of right answers in [0, 1]; 0 in a bin without images.
    """

    edges: NDArray[np.float64]
    counts: NDArray[np.int64]
    confidence: NDArray[np.float64]
    accuracy: NDArray[np.float64]


def calibration_bins(logits: ArrayLike, labels: ArrayLike, bins: int = BINS) -> CalibrationBins:
    """Sort images into bins of equal width by the confidence of the network's answer.

    Args:
        logits: (N, K).
        labels: (N,) class indices.
        bins: How many bins.

    Raises:
        ValueError: There are no images, or no bins.
    """
    scores, truth = np.asarray(logits, dtype=np.float64), np.asarray(labels)
    if not len(scores):
        raise ValueError("calibration of no images")
    if bins < 1:
        raise ValueError(f"calibration needs at least one bin, not {bins}")
    confidence = special.softmax(scores, axis=1).max(axis=1)
    right = (scores.argmax(axis=1) == truth).astype(np.float64)
    edges = np.linspace(0, 1, bins + 1)
    # "left" puts a confidence that is an edge into the bin that ends there.
    place = np.clip(np.searchsorted(edges, confidence, side="left") - 1, 0, bins - 1)
    counts = np.bincount(place, minlength=bins)
    images = np.maximum(counts, 1)
    return CalibrationBins(
        edges=edges,
        counts=counts.astype(np.int64),
        confidence=np.bincount(place, weights=confidence, minlength=bins) / images,
        accuracy=np.bincount(place, weights=right, minlength=bins) / images,
    )


def expected_calibration_error(bins: CalibrationBins) -> float:
    """Return the ECE in percent: ``100 Σ_b n_b/N |acc(b) - conf(b)|`` (Guo et al. 2017, Eq. 3)."""
    gaps = np.abs(bins.accuracy - bins.confidence)
    return float(100 * (bins.counts * gaps).sum() / bins.counts.sum())
