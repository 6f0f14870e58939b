"""The critical difference diagram: mean ranks across datasets and which of them differ."""

from __future__ import annotations

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from mlfd_tune.ablation.statistics import Ranks
from mlfd_tune.report.style import COLOURS, GREY, INK, add_foot, ends_of

__all__ = ["cliques_of", "ranks_figure"]

_NAME = 30
_LINE = 0.62
"""From one arm's line to the next, in the axis's units below the axis."""


def ranks_figure(ranks: Ranks, title: str) -> Figure:
    """Draw arms by their mean rank; a bar joins those that are not shown to differ.

    After Demšar (2006), "Statistical Comparisons of Classifiers over Multiple Data Sets", Figure 1:
    two arms differ where their mean ranks are further apart than the critical difference of
    Nemenyi's test.

    Args:
        ranks: Of three arms or more.
        title: Of the figure.
    """
    arms = sorted(zip(ranks.mean_ranks, ranks.arms, strict=True))
    k = len(arms)
    cliques = cliques_of(ranks)
    left, right = arms[: -(-k // 2)], arms[-(-k // 2) :]
    bars = 0.34 * len(cliques)
    depth = bars + _LINE * len(left) + 0.5
    figure = Figure(figsize=(9.2, 0.42 * depth + 1.5), layout="constrained")
    axes = figure.subplots()
    room = 0.42 * k  # for the arms' names on either side
    axes.set_xlim(1 - room, k + room)
    axes.set_ylim(depth, -1.9)
    axes.set_axis_off()
    axes.plot([1, k], [0, 0], color=INK, linewidth=1.2)
    for rank in range(1, k + 1):
        axes.plot([rank, rank], [-0.18, 0], color=INK, linewidth=1.2)
        _write(axes, str(rank), rank, -0.34, "center", "bottom")
    _critical_difference(axes, ranks.critical_difference, k)
    for number, (first, last) in enumerate(cliques):
        height = 0.3 + 0.34 * number
        axes.plot(
            [first - 0.05, last + 0.05],
            [height, height],
            color=COLOURS[0],
            linewidth=4.5,
            solid_capstyle="round",
        )
    for place, (mean_rank, arm) in enumerate(left):
        _arm(axes, mean_rank, arm, bars + _LINE * (place + 1), 1 - 0.06 * k, "right")
    for place, (mean_rank, arm) in enumerate(reversed(right)):
        _arm(axes, mean_rank, arm, bars + _LINE * (place + 1), k + 0.06 * k, "left")
    figure.suptitle(title, fontsize=12)
    add_foot(
        figure,
        f"Mean rank over {ranks.blocks} datasets, 1 is best. Arms that a bar joins are not shown "
        f"to differ (Nemenyi, critical difference {ranks.critical_difference:.2f}). Friedman's "
        f"test of all arms being alike: p = {ranks.p:.3g}.",
    )
    return figure


def cliques_of(ranks: Ranks) -> list[tuple[float, float]]:
    """Return from which to which mean rank arms are not shown to differ, the widest groups only."""
    order = sorted(ranks.mean_ranks)
    found: list[tuple[float, float]] = []
    for start in order:
        last = max(rank for rank in order if rank - start < ranks.critical_difference)
        if last > start and not any(first <= start and last <= end for first, end in found):
            found.append((start, last))
    return found


def _critical_difference(axes: Axes, width: float, k: int) -> None:
    # Of few datasets it may be wider than the axis; then its whole length cannot be drawn.
    end = min(1 + width, 1.3 * k)
    axes.plot([1, end], [-1.2, -1.2], color=GREY, linewidth=1.6)
    for at in (1, end) if end == 1 + width else (1,):
        axes.plot([at, at], [-1.32, -1.08], color=GREY, linewidth=1.6)
    beyond = "" if end == 1 + width else ", beyond the axis"
    _write(axes, f"critical difference {width:.2f}{beyond}", 1, -1.42, "left", "bottom")


def _arm(axes: Axes, rank: float, arm: str, height: float, side: float, align: str) -> None:
    axes.plot([rank, rank, side], [0, height, height], color=INK, linewidth=0.9)
    axes.plot(rank, 0, marker="o", markersize=4.5, color=INK)
    text = f"{ends_of(arm, _NAME)} ({rank:.2f})"
    shift = -5 if align == "right" else 5
    axes.annotate(
        text,
        (side, height),
        (shift, 0),
        textcoords="offset points",
        ha=align,
        va="center",
        fontsize=9,
        color=INK,
    )


def _write(axes: Axes, text: str, x: float, y: float, across: str, along: str) -> None:
    axes.annotate(text, (x, y), ha=across, va=along, fontsize=9, color=INK)
