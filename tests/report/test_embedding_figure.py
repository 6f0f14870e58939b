from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from matplotlib.collections import PathCollection
from matplotlib.figure import Figure
from sklearn.datasets import load_digits

from mlfd_tune.report.embeddings import EmbeddingPanel, embedding_figure, tsne_points

Texts = Callable[[Figure], list[str]]


def panel(classes: int, points: int = 60, note: str = "") -> EmbeddingPanel:
    generator = np.random.default_rng(classes)
    return EmbeddingPanel(
        points=generator.normal(size=(points, 2)),
        labels=np.arange(points) % classes,
        classes=tuple(f"c{i}" for i in range(classes)),
        note=note,
    )


def looks(figure: Figure) -> set[tuple[str, str]]:
    (legend,) = figure.legends
    return {(str(line.get_color()), str(line.get_marker())) for line in legend.get_lines()}


def test_tsne_keeps_real_classes_apart_and_gives_the_same_points_again() -> None:
    images, labels = load_digits(n_class=3, return_X_y=True)
    images, labels = images[:150], labels[:150]

    points = tsne_points(images, seed=0)

    assert points.shape == (150, 2)
    np.testing.assert_array_equal(points, tsne_points(images, seed=0))
    means = np.stack([points[labels == label].mean(axis=0) for label in range(3)])
    nearest = np.linalg.norm(points[:, None] - means, axis=2).argmin(axis=1)
    assert (nearest == labels).mean() > 0.95


@pytest.mark.parametrize("n", [4, 5, 20])
def test_few_points_get_places_too(n: int) -> None:
    points = tsne_points(np.random.default_rng(0).normal(size=(n, 8)), seed=1)
    assert points.shape == (n, 2)
    assert np.isfinite(points).all()


def test_a_collapsed_network_is_one_point() -> None:
    np.testing.assert_array_equal(tsne_points(np.ones((9, 4)), seed=0), np.zeros((9, 2)))


@pytest.mark.parametrize(
    "embeddings", [np.ones((3, 4)), np.ones((9, 1)), np.full((9, 4), np.nan), np.ones(9)]
)
def test_what_has_no_map_is_refused(embeddings: np.ndarray) -> None:
    with pytest.raises(ValueError, match="t-SNE needs"):
        tsne_points(embeddings, seed=0)


def test_each_network_has_a_panel_and_all_share_one_legend(texts: Texts) -> None:
    names = ("teacher", "joint teacher", "baseline", "student")
    figure = embedding_figure({name: panel(3, note=f"k-NN of {name}") for name in names})

    assert [axes.get_title() for axes in figure.axes] == list(names)
    assert [axes.get_xlabel() for axes in figure.axes] == [f"k-NN of {name}" for name in names]
    (legend,) = figure.legends
    assert [text.get_text() for text in legend.get_texts()] == ["c0", "c1", "c2"]
    assert not any("grey" in text for text in texts(figure))


def test_twenty_classes_differ_in_colour_or_marker() -> None:
    assert len(looks(embedding_figure({"teacher": panel(10)}))) == 10
    assert len({marker for _, marker in looks(embedding_figure({"t": panel(10)}))}) == 1
    assert len(looks(embedding_figure({"teacher": panel(20)}))) == 20


def test_of_a_hundred_classes_those_with_most_points_are_coloured(texts: Texts) -> None:
    many = panel(100, points=100)
    labels = np.concatenate([many.labels, np.repeat(np.arange(70, 90), 3)])
    points = np.random.default_rng(0).normal(size=(len(labels), 2))
    figure = embedding_figure({"teacher": EmbeddingPanel(points, labels, many.classes, "")})

    (legend,) = figure.legends
    entries = [text.get_text() for text in legend.get_texts()]
    assert entries == [*(f"c{i}" for i in range(70, 90)), "80 others"]
    assert any("20 of 100 classes are coloured" in text for text in texts(figure))
    drawn = sum(
        len(collection.get_offsets())
        for collection in figure.axes[0].collections
        if isinstance(collection, PathCollection)
    )
    assert drawn == len(labels)


def test_no_panels_are_refused() -> None:
    with pytest.raises(ValueError, match="at least one panel"):
        embedding_figure({})
