from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace

import numpy as np
import pytest
from matplotlib.figure import Figure

from mlfd_tune.core.calibration import calibration_bins, expected_calibration_error
from mlfd_tune.report.calibration import reliability_figure

Texts = Callable[[Figure], list[str]]


def bins() -> SimpleNamespace:
    return SimpleNamespace(
        edges=np.array([0.0, 0.25, 0.5, 0.75, 1.0]),
        counts=np.array([0, 10, 30, 60]),
        confidence=np.array([np.nan, 0.4, 0.6, 0.9]),
        accuracy=np.array([np.nan, 0.5, 0.4, 0.8]),
    )


def test_the_title_bears_the_calibration_error(texts: Texts) -> None:
    found = texts(reliability_figure(bins(), "mlfd on photos"))

    # 0.1 * 0.1 + 0.3 * 0.2 + 0.6 * 0.1
    assert "mlfd on photos\nECE 13.0 %, 100 images" in found
    assert "mean confidence 0.76 (dotted), accuracy 0.65" in found


def test_it_is_the_error_that_the_evaluation_reports(texts: Texts) -> None:
    generator = np.random.default_rng(0)
    found = calibration_bins(generator.normal(size=(200, 5)) * 2, generator.integers(0, 5, 200))

    error = expected_calibration_error(found)
    assert any(f"ECE {error:.1f} %" in text for text in texts(reliability_figure(found, "t")))


def test_bars_show_accuracy_gap_and_counts() -> None:
    upper, lower = reliability_figure(bins(), "t").axes

    accuracy, gap = upper.containers
    assert [bar.get_height() for bar in accuracy] == pytest.approx([0.5, 0.4, 0.8])
    assert [bar.get_height() for bar in gap] == pytest.approx([-0.1, 0.2, 0.1])
    assert [bar.get_y() for bar in gap] == pytest.approx([0.5, 0.4, 0.8])
    assert [bar.get_height() for bar in lower.containers[0]] == [0, 10, 30, 60]


def test_no_images_are_said_in_words(texts: Texts) -> None:
    empty = bins()
    empty.counts = np.zeros(4, dtype=int)
    assert "t\nno images" in texts(reliability_figure(empty, "t"))
