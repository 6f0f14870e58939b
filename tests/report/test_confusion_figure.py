from __future__ import annotations

import itertools
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from mlfd_tune.report.confusion import confusion_figure
from mlfd_tune.report.figures import save_figure

Texts = Callable[[Figure], list[str]]


def counts(k: int, right: int, wrong: int) -> np.ndarray:
    """Every class is right `right` times and taken for the next one `wrong` times."""
    return np.eye(k, dtype=np.int64) * right + np.roll(np.eye(k, dtype=np.int64), 1, axis=1) * wrong


def test_two_classes_bear_share_and_count_in_every_cell(texts: Texts) -> None:
    found = texts(confusion_figure(np.array([[3, 1], [0, 5]]), ["cat", "dog"], "mlfd on pets"))

    assert {"75 %\n3", "25 %\n1", "100 %\n5"} <= set(found)
    assert not any(text.startswith("0 %") for text in found)
    assert "mlfd on pets\n88.9 % of 9 images right" in found


def test_colours_are_shares_of_the_true_class_and_a_class_without_images_has_none() -> None:
    figure = confusion_figure(np.array([[30, 10], [0, 0]]), ["a", "b"], "t")

    (image,) = figure.axes[0].images
    shares = np.ma.filled(image.get_array(), np.nan)
    np.testing.assert_allclose(shares[0], [0.75, 0.25])
    assert np.isnan(shares[1]).all()


def test_up_to_twenty_classes_are_all_named_and_cells_bear_percent(texts: Texts) -> None:
    found = texts(confusion_figure(counts(17, 8, 2), [f"class{i}" for i in range(17)], "t"))

    assert found.count("80") == 17 + 1  # cells, and a tick of the colour bar
    assert all(found.count(f"class{i}") == 2 for i in range(17))


def test_two_hundred_classes_are_thinned_out_and_the_worst_mistakes_named(texts: Texts) -> None:
    matrix = counts(200, 50, 1)
    matrix[7, 120] = 40
    found = texts(confusion_figure(matrix, [f"n{i}" for i in range(200)], "t"))

    assert "true class (1 of 5 named)" in found
    assert sum(text.startswith("n") and text[1:].isdigit() for text in found) == 2 * 40
    assert any("n7 taken for n120: 44 % (40)" in text for text in found)
    assert not any(text.isdigit() and int(text) == 50 and text != "50" for text in found)


@pytest.mark.parametrize("k", [2, 3, 10, 20, 21, 100, 200])
def test_nothing_is_cut_and_no_class_name_covers_another(k: int, tmp_path: Path) -> None:
    figure = confusion_figure(
        counts(k, 8, 2), [f"class_{i}_with_a_long_name" for i in range(k)], "mlfd on something"
    )
    save_figure(figure, tmp_path / "confusion")  # puts everything into its place
    renderer = FigureCanvasAgg(figure).get_renderer()
    box = figure.bbox

    axes = figure.axes[0]
    names = [label.get_window_extent(renderer) for label in axes.get_yticklabels()]
    assert all(a.y0 >= b.y1 - 1 for a, b in itertools.pairwise(names))
    names = [label.get_window_extent(renderer) for label in axes.get_xticklabels()]
    assert all(a.x1 <= b.x0 + 1 for a, b in itertools.pairwise(names))
    for text in (axes.title, axes.xaxis.label, axes.yaxis.label, *figure.texts):
        extent = text.get_window_extent(renderer)
        assert extent.x0 >= box.x0 - 1
        assert extent.x1 <= box.x1 + 1
        assert extent.y0 >= box.y0 - 1
        assert extent.y1 <= box.y1 + 1


def test_names_and_matrix_must_agree() -> None:
    with pytest.raises(ValueError, match="3 classes cannot have shape"):
        confusion_figure(counts(2, 1, 0), ["a", "b", "c"], "t")
