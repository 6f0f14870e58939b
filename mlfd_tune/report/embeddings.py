"""t-SNE of embeddings: how far a network keeps the classes apart (the paper's supplementary)."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from numpy.typing import NDArray

from mlfd_tune.report.style import (
    FAINT,
    GREY,
    INK,
    LEGEND,
    MANY_COLOURS,
    MARKERS,
    add_foot,
    shortened,
)

__all__ = ["EmbeddingPanel", "embedding_figure", "tsne_points"]

_PERPLEXITY = 30.0
_MOST_COLOURED = 20


@dataclass(frozen=True, eq=False)
class EmbeddingPanel:
    """One network's embeddings in the plane.

    Attributes:
        points: Positions (N, 2).
        labels: Index of each point's class (N,).
        classes: Names of the classes.
        note: A line below the title, such as a measure of how far apart the classes are.
    """

    points: NDArray[np.floating]
    labels: NDArray[np.integer]
    classes: tuple[str, ...]
    note: str


def tsne_points(embeddings: NDArray[np.floating], seed: int) -> NDArray[np.float64]:
    """Return the positions (N, 2) that t-SNE gives to embeddings (N, C); equal for equal input.

    scikit-learn's t-SNE (van der Maaten and Hinton, 2008), begun from the first two principal
    components, with perplexity 30, or (N - 1) / 3 where that is less. On one thread: with several,
    sums are added in the order threads finish in.

    Args:
        embeddings: At least 4 finite vectors of at least 2 components.
        seed: Of the principal components' solver.

    Raises:
        ValueError: There are fewer, or a value is not finite.
    """
    vectors = np.asarray(embeddings, dtype=np.float32)
    if vectors.ndim != 2 or len(vectors) < 4 or vectors.shape[1] < 2:
        raise ValueError(f"t-SNE needs at least 4 vectors of 2 components, not {vectors.shape}")
    if not np.isfinite(vectors).all():
        raise ValueError("t-SNE needs finite embeddings")
    if not np.ptp(vectors, axis=0).any():
        # A collapsed network: all images are one point, which has no principal components.
        return np.zeros((len(vectors), 2))
    from sklearn.manifold import TSNE
    from threadpoolctl import threadpool_limits

    perplexity = min(_PERPLEXITY, (len(vectors) - 1) / 3)
    with threadpool_limits(limits=1):
        tsne = TSNE(2, perplexity=perplexity, init="pca", random_state=seed, n_jobs=1)
        return np.asarray(tsne.fit_transform(vectors), dtype=np.float64)


def embedding_figure(panels: Mapping[str, EmbeddingPanel]) -> Figure:
    """Draw one panel per network, with one legend of the classes.

    A class has the same colour and marker in every panel. Of more than 20 classes the 20 with the
    most points are coloured, and the rest are grey.

    Args:
        panels: By the network's title, such as ``teacher``; at least one.

    Raises:
        ValueError: There are none.
    """
    if not panels:
        raise ValueError("a figure of embeddings needs at least one panel")
    coloured, total = _coloured(list(panels.values()))
    looks = {
        name: (MANY_COLOURS[i % len(MANY_COLOURS)], MARKERS[i // len(MANY_COLOURS) % len(MARKERS)])
        for i, name in enumerate(coloured)
    }
    columns = min(len(panels), 4)
    rows = math.ceil(len(panels) / columns)
    figure = Figure(figsize=(max(3.3 * columns, 6.6), 3.7 * rows), layout="constrained")
    grid = figure.subplots(rows, columns, squeeze=False).ravel()
    for axes, (title, panel) in zip(grid, panels.items(), strict=False):
        _draw(axes, panel, looks)
        axes.set_title(title, fontsize=11)
        axes.set_xlabel(panel.note, fontsize=LEGEND, color=INK)
    for axes in grid[len(panels) :]:
        axes.set_axis_off()
    note = "t-SNE: who is near whom tells something; distances between groups and the axes do not."
    if total > len(coloured):
        note += (
            f"\n{len(coloured)} of {total} classes are coloured, those with the most points; "
            "the others are grey."
        )
    add_foot(figure, note, _legend(looks, total))
    return figure


def _coloured(panels: Sequence[EmbeddingPanel]) -> tuple[list[str], int]:
    """Return the classes that get a colour, in their own order, and how many there are."""
    names = list(dict.fromkeys(name for panel in panels for name in panel.classes))
    points: Counter[str] = Counter()
    for panel in panels:
        points.update(panel.classes[label] for label in panel.labels.tolist())
    most = sorted(names, key=lambda name: (-points[name], names.index(name)))[:_MOST_COLOURED]
    return [name for name in names if name in most], len(names)


def _draw(axes: Axes, panel: EmbeddingPanel, looks: Mapping[str, tuple[str, str]]) -> None:
    size = float(np.clip(6000 / max(len(panel.points), 1), 5, 26))
    others = np.array([name not in looks for name in panel.classes], dtype=bool)
    grey = others[panel.labels]
    x, y = panel.points[grey].T
    axes.scatter(x, y, s=0.6 * size, color=FAINT, linewidths=0, zorder=1)
    for index, name in enumerate(panel.classes):
        if name in looks:
            colour, marker = looks[name]
            x, y = panel.points[panel.labels == index].T
            axes.scatter(
                x, y, s=size, color=colour, marker=marker, linewidths=0, alpha=0.8, zorder=2
            )
    axes.set_xticks([])
    axes.set_yticks([])
    axes.set_box_aspect(1)
    for spine in axes.spines.values():
        spine.set_color(GREY)


def _legend(looks: Mapping[str, tuple[str, str]], total: int) -> list[Line2D]:
    def entry(colour: str, marker: str, label: str) -> Line2D:
        return Line2D([], [], color=colour, marker=marker, linestyle="", markersize=6, label=label)

    entries = [entry(*look, shortened(name, 16)) for name, look in looks.items()]
    if total > len(looks):
        entries.append(entry(FAINT, "o", f"{total - len(looks)} others"))
    return entries
