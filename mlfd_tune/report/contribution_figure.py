"""What each teacher contributes to each student: Shapley values and what its absence costs."""

from __future__ import annotations

from collections.abc import Sequence

from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from mlfd_tune.ablation.contribution import Contribution
from mlfd_tune.core.statistics import Interval
from mlfd_tune.report.style import COLOURS, INK, add_foot, ends_of

__all__ = ["contribution_figure"]

_SHAPLEY, _DROP = ("o", COLOURS[0], "-"), ("D", COLOURS[1], (0, (3, 1.5)))
_COLUMNS = 3


def contribution_figure(contributions: Sequence[Contribution], metric: str, title: str) -> Figure:
    """Draw one panel per dataset with two intervals for each teacher.

    Args:
        contributions: At least one.
        metric: What the students are judged by.
        title: Of the figure.

    Raises:
        ValueError: There are none.
    """
    if not contributions:
        raise ValueError("a figure of contributions needs at least one")
    datasets = list(dict.fromkeys(one.dataset for one in contributions))
    columns = min(len(datasets), _COLUMNS)
    rows = -(-len(datasets) // columns)
    most = max(sum(one.dataset == name for one in contributions) for name in datasets)
    size = (max(3.8 * columns, 7.0), rows * (0.55 * most + 1.1) + 0.3)
    figure = Figure(figsize=size, layout="constrained")
    grid = figure.subplots(rows, columns, squeeze=False).ravel()
    for axes in grid[len(datasets) :]:
        axes.set_axis_off()
    for axes, dataset in zip(grid, datasets, strict=False):
        own = [one for one in contributions if one.dataset == dataset]
        axes.axvline(0, color=INK, linewidth=1, zorder=1)
        for place, one in enumerate(own):
            for interval, look, shift in (
                (one.shapley, _SHAPLEY, -0.14),
                (one.drop_one, _DROP, 0.14),
            ):
                marker, colour, line = look
                low, high = _ends(interval)
                axes.plot(
                    [low, high],
                    [place + shift] * 2,
                    color=colour,
                    linestyle=line,
                    linewidth=1.8,
                    zorder=2,
                )
                axes.plot(interval.mean, place + shift, marker=marker, color=colour, markersize=6)
        axes.set_yticks(range(len(own)), [ends_of(one.teacher, 24) for one in own], fontsize=9)
        axes.set_ylim(len(own) - 0.5, -0.5)
        axes.set_title(f"student of {dataset}", fontsize=11)
        axes.set_xlabel(f"{metric}, points")
        axes.grid(axis="x", color="#e6e6e6", linewidth=0.7)
        axes.tick_params(axis="y", length=0)
        axes.spines[["top", "right", "left"]].set_visible(False)
    figure.suptitle(title, fontsize=12)
    about = "Shapley values are estimated from sampled orders of the teachers. "
    add_foot(
        figure,
        (about if any(one.sampled for one in contributions) else "")
        + "Shapley value: what a teacher adds, averaged over all orders in which teachers could "
        "join; drop one: what its absence costs when all others stay. Lines: 95 % intervals over "
        "seeds.",
        [
            _entry("Shapley value", *_SHAPLEY),
            _entry("drop one", *_DROP),
        ],
        handle=2.4,
    )
    return figure


def _ends(interval: Interval) -> tuple[float, float]:
    low = interval.mean if interval.low is None else interval.low
    return low, interval.mean if interval.high is None else interval.high


def _entry(label: str, marker: str, colour: str, line: object) -> Line2D:
    return Line2D(
        [],
        [],
        label=label,
        marker=marker,
        color=colour,
        linestyle=line,  # type: ignore[arg-type]
        linewidth=1.8,
        markersize=6,
    )
