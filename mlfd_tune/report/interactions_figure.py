"""Draws how much pairs of hyperparameters do together, as a small matrix for each dataset."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from mlfd_tune.report.importance_figure import parameters_by_share, short_names
from mlfd_tune.report.style import GREY, INK, add_foot, ends_of
from mlfd_tune.tune.importance import NOTHING_EXPLAINED, ImportanceReport

__all__ = ["interactions_figure"]

_NAME: Final = 24
_MOST: Final = 12
_ACROSS: Final = 3


def interactions_figure(report: ImportanceReport, title: str) -> Figure:
    """Draw Friedman's H of every pair of parameters.

    Of many parameters those with the largest shares are drawn.

    Args:
        report: From `importance_of`; at least one interaction.
        title: Of the figure.

    Raises:
        ValueError: There are no interactions.
    """
    if not report.interactions:
        raise ValueError("a figure of interactions needs at least one")
    paired = {name for one in report.interactions for name in (one.first, one.second)}
    names = [name for name in parameters_by_share(report) if name in paired][:_MOST]
    datasets = list(dict.fromkeys(one.dataset for one in report.interactions))
    across = min(len(datasets), _ACROSS)
    down = -(-len(datasets) // across)
    side = 0.46 * len(names) + 0.3
    figure = Figure(figsize=(across * (side + 2.1), down * (side + 1.9)), layout="constrained")
    panels = figure.subplots(down, across, squeeze=False).flatten()
    for panel, dataset in zip(panels, datasets, strict=False):
        _matrix(panel, report, dataset, names)
    for panel in panels[len(datasets) :]:
        panel.set_visible(False)
    figure.suptitle(title, fontsize=12)
    add_foot(
        figure,
        "Friedman's H: the share, as a root, of what two parameters do together that is more than "
        "the sum of what each does. 0: they add up; 1: neither does anything without the other. "
        "Empty: too few trials have both, or one of them never varies there. With few trials a "
        "forest shows interactions that are not there.",
    )
    return figure


def _matrix(axes: Axes, report: ImportanceReport, dataset: str, names: Sequence[str]) -> None:
    table = np.full((len(names), len(names)), np.nan)
    for one in report.interactions:
        if one.dataset == dataset and one.first in names and one.second in names:
            places = sorted((names.index(one.first), names.index(one.second)), reverse=True)
            table[places[0], places[1]] = one.strength
    shown = table[1:, :-1]  # a parameter with itself, and each pair once
    axes.imshow(shown, cmap="Blues", vmin=0, vmax=1, aspect="equal")
    for row, column in np.argwhere(~np.isnan(shown)):
        value = shown[row, column]
        axes.text(
            column,
            row,
            f"{value:.2f}",
            ha="center",
            va="center",
            fontsize=7,
            color="white" if value > 0.6 else INK,
        )
    labels = [ends_of(name, _NAME) for name in short_names(names)]
    axes.set_xticks(range(len(names) - 1), labels[:-1], rotation=40, ha="right", fontsize=7)
    axes.set_yticks(range(len(names) - 1), labels[1:], fontsize=7)
    axes.tick_params(length=0)
    axes.spines[:].set_visible(False)
    explained = report.explained.get(dataset)
    nothing = explained is not None and explained < NOTHING_EXPLAINED
    axes.set_title(
        f"{dataset}{': noise, the forest explains nothing' if nothing else ''}",
        fontsize=9.5,
        color=GREY if nothing else INK,
    )
