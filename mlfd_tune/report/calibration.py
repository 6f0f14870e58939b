"""Reliability diagrams: whether a network's confidence says how often it is right."""

from __future__ import annotations

from typing import Protocol

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray

from mlfd_tune.report.style import COLOURS, GREY, INK, LEGEND

__all__ = ["Bins", "reliability_figure"]


class Bins(Protocol):
    """Images by the confidence of their prediction, all values in [0, 1].

    Attributes:
        edges: Ends of the B bins (B+1,), rising.
        counts: Images in each bin (B,).
        confidence: Mean confidence in each bin (B,); without meaning where a bin is empty.
        accuracy: Share of right predictions in each bin (B,); likewise.
    """

    @property
    def edges(self) -> NDArray[np.floating]: ...  # noqa: D102
    @property
    def counts(self) -> NDArray[np.integer]: ...  # noqa: D102
    @property
    def confidence(self) -> NDArray[np.floating]: ...  # noqa: D102
    @property
    def accuracy(self) -> NDArray[np.floating]: ...  # noqa: D102


def reliability_figure(bins: Bins, title: str) -> Figure:
    """Draw accuracy against confidence with the gap between them, and how many images there are.

    The title bears the expected calibration error, ``sum_b n_b / N * |accuracy_b - confidence_b|``
    (Guo et al., On Calibration of Modern Neural Networks, 2017, Eq. 3).

    Args:
        bins: The bins.
        title: What was measured.
    """
    edges = np.asarray(bins.edges, dtype=np.float64)
    counts = np.asarray(bins.counts)
    filled = counts > 0
    left, width = edges[:-1][filled], np.diff(edges)[filled]
    accuracy = np.asarray(bins.accuracy, dtype=np.float64)[filled]
    confidence = np.asarray(bins.confidence, dtype=np.float64)[filled]
    total = int(counts.sum())

    figure = Figure(figsize=(5.4, 6.2), layout="constrained")
    upper, lower = figure.subplots(2, 1, sharex=True, height_ratios=(3, 1))
    upper.bar(
        left, accuracy, width, align="edge", color=COLOURS[5], edgecolor="white", label="accuracy"
    )
    upper.bar(
        left,
        confidence - accuracy,
        width,
        bottom=accuracy,
        align="edge",
        facecolor="none",
        edgecolor=COLOURS[1],
        hatch="///",
        linewidth=1.0,
        label="gap to the mean confidence",
    )
    upper.plot([0, 1], [0, 1], color=INK, linestyle="--", linewidth=1, label="calibrated")
    upper.set_ylim(0, 1)
    upper.set_ylabel("accuracy")
    upper.legend(loc="upper left", fontsize=LEGEND, frameon=False)
    upper.set_title(f"{title}\n{_summary(counts[filled], accuracy, confidence)}", fontsize=11)

    lower.bar(edges[:-1], counts, np.diff(edges), align="edge", color=GREY, edgecolor="white")
    lower.set_ylabel("images")
    lower.set_xlabel("confidence of the prediction")
    lower.set_xlim(float(edges[0]), float(edges[-1]))
    if total:
        mean_accuracy = float(np.average(accuracy, weights=counts[filled]))
        mean_confidence = float(np.average(confidence, weights=counts[filled]))
        for axes in (upper, lower):
            axes.axvline(mean_confidence, color=COLOURS[1], linewidth=1.2, linestyle=":")
        lower.annotate(
            f"mean confidence {mean_confidence:.2f} (dotted), accuracy {mean_accuracy:.2f}",
            (0.02, 0.9),
            xycoords="axes fraction",
            va="top",
            fontsize=LEGEND,
            color=INK,
        )
    return figure


def _summary(
    counts: NDArray[np.integer], accuracy: NDArray[np.float64], confidence: NDArray[np.float64]
) -> str:
    total = int(counts.sum())
    if not total:
        return "no images"
    error = float((counts / total * np.abs(accuracy - confidence)).sum())
    return f"ECE {100 * error:.1f} %, {total} images"
