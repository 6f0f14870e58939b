"""Confusion matrices, legible from 2 classes to 200."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import Normalize, PowerNorm
from matplotlib.figure import Figure
from numpy.typing import NDArray

from mlfd_tune.core.confusion import most_confused
from mlfd_tune.report.style import FAINT, INK, add_foot, shortened

__all__ = ["confusion_figure"]

_TEXT_UP_TO = 20
_COUNTS_UP_TO = 10
_MOST_NAMES = 40
_NAME_LENGTH = 16
_PAIRS = 3


def confusion_figure(matrix: NDArray[np.integer], classes: Sequence[str], title: str) -> Figure:
    """Draw a confusion matrix whose rows are coloured by their own shares.

    Up to 20 classes each cell says its share of the true class in percent, up to 10 the count too.
    Above that there is no room: class names are thinned out, the colours bring out small shares,
    and the pairs most often confused are named below.

    Args:
        matrix: Counts (K, K), the true class by row and the predicted one by column.
        classes: The K names.
        title: What was measured.

    Raises:
        ValueError: The matrix is not square, or there are not as many names.
    """
    counts = np.asarray(matrix)
    k = len(classes)
    if counts.shape != (k, k):
        raise ValueError(f"a confusion matrix of {k} classes cannot have shape {counts.shape}")
    rows = counts.sum(axis=1, keepdims=True)
    shares = np.divide(counts, rows, out=np.full(counts.shape, np.nan), where=rows > 0)
    side = float(np.clip(0.45 * k, 3.2, 8.4))
    figure = Figure(figsize=(side + 3.2, side + 1.9), layout="constrained")
    axes = figure.subplots()
    many = k > _TEXT_UP_TO
    norm = PowerNorm(0.5, 0, 1) if many else Normalize(0, 1)
    image = axes.imshow(shares, cmap="Blues", norm=norm, interpolation="nearest")
    axes.set_facecolor(FAINT)  # a class without images has no shares
    bar = figure.colorbar(image, ax=axes, shrink=0.8, label="share of the true class in %")
    ticks = np.array([0, 0.01, 0.05, 0.1, 0.25, 0.5, 1]) if many else np.linspace(0, 1, 6)
    bar.set_ticks(ticks.tolist(), labels=[f"{100 * tick:.0f}" for tick in ticks])
    _name_classes(axes, classes)
    total, right = int(counts.sum()), int(np.trace(counts))
    accuracy = f"{100 * right / total:.1f} % of {total} images right" if total else "no images"
    axes.set_title(f"{title}\n{accuracy}", fontsize=11)
    if many:
        add_foot(figure, _most_confused(counts, classes))
    else:
        _write_cells(axes, counts, shares)
    return figure


def _name_classes(axes: Axes, classes: Sequence[str]) -> None:
    k = len(classes)
    step = -(-k // _MOST_NAMES)
    shown = range(0, k, step)
    names = [shortened(classes[index], _NAME_LENGTH) for index in shown]
    size = 9 if k <= _COUNTS_UP_TO else 8 if k <= _TEXT_UP_TO else 7
    turn = 90 if k > _COUNTS_UP_TO or max(map(len, names)) > 4 else 0
    axes.set_xticks(list(shown), names, fontsize=size, rotation=turn)
    axes.set_yticks(list(shown), names, fontsize=size)
    note = f" (1 of {step} named)" if step > 1 else ""
    axes.set_xlabel(f"predicted class{note}")
    axes.set_ylabel(f"true class{note}")


def _write_cells(axes: Axes, counts: NDArray[np.integer], shares: NDArray[np.float64]) -> None:
    with_counts = len(counts) <= _COUNTS_UP_TO
    size = 11 if len(counts) <= 4 else 8
    for row, column in np.argwhere(counts > 0):
        share = shares[row, column]
        percent = f"{100 * share:.0f}"
        axes.text(
            column,
            row,
            f"{percent} %\n{counts[row, column]}" if with_counts else percent,
            ha="center",
            va="center",
            fontsize=size,
            color="white" if share > 0.55 else INK,
        )


def _most_confused(counts: NDArray[np.integer], classes: Sequence[str]) -> str:
    told = [
        f"{shortened(classes[pair.true], 20)} taken for {shortened(classes[pair.predicted], 20)}: "
        f"{pair.share:.0f} % ({pair.count})"
        for pair in most_confused(counts.astype(np.int64), _PAIRS)
    ]
    return "\n".join(["Most often confused:", *told]) if told else "No class is taken for another."
