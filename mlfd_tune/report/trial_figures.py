"""Figures of a search: every trial's learning curve, and the value of trial after trial."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from itertools import accumulate
from typing import Final

from matplotlib.axes import Axes
from matplotlib.collections import LineCollection
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator

from mlfd_tune.report.style import COLOURS, GREY, INK, add_foot
from mlfd_tune.report.trials import SearchTrial, TrialEnd, best_of, by_dataset

__all__ = ["history_figure", "trial_curves_figure"]

_BLUE, _VERMILION = COLOURS[0], COLOURS[1]
_COLUMNS = 3
_MANY = 400
"""More lines than this become one picture inside the figure: as lines they would take megabytes."""

_ENDS: Final[Mapping[TrialEnd, tuple[str, str, str, str]]] = {
    "complete": ("ran to the end", "o", _BLUE, _BLUE),
    "pruned": ("stopped early", "v", "white", _VERMILION),
    "failed": ("failed", "X", INK, INK),
    "running": ("not over", "d", "white", GREY),
}
"""What an end is called, its marker, and the marker's face and edge."""


_STOPPED: Final[tuple[TrialEnd, ...]] = ("pruned", "failed")


def trial_curves_figure(
    trials: Sequence[SearchTrial], rungs: Mapping[str, Sequence[int]], metric: str, title: str
) -> Figure:
    """Draw every trial epoch by epoch, one panel per dataset: faint, and the best strongly.

    Args:
        trials: At least one.
        rungs: By dataset, the epochs after which trials may be stopped.
        metric: What the curves are of.
        title: Of the figure.

    Raises:
        ValueError: There are no trials.
    """
    figure, panels = _panels(trials, title)
    for axes, (dataset, own) in panels:
        best = best_of(own)
        for end, colour in (("pruned", GREY), ("failed", GREY), ("complete", _BLUE)):
            lines = [
                sorted(trial.values.items()) for trial in own if trial.end == end and trial != best
            ]
            lines = [line for line in lines if len(line) > 1]
            axes.add_collection(
                LineCollection(
                    lines,
                    colors=colour,
                    linewidths=0.9,
                    alpha=0.45,
                    zorder=2,
                    rasterized=len(lines) > _MANY,
                )
            )
        for stopped in _STOPPED:
            _mark(axes, [t for t in own if t.end == stopped], stopped, lambda t: t.epoch, 5)
        if best is not None:
            points = sorted(best.values.items())
            label = f"trial {best.number}: {best.value:.1f}"
            axes.plot(*zip(*points, strict=True), color=_BLUE, linewidth=2.6, zorder=5)
            axes.annotate(
                label,
                points[-1],
                (-4, 7),
                textcoords="offset points",
                ha="right",
                fontsize=9,
                color=INK,
                weight="bold",
            )
        for rung in rungs.get(dataset, ()):
            axes.axvline(rung, color=GREY, linewidth=0.9, linestyle=(0, (1, 2.5)), zorder=1)
        axes.autoscale_view()
        axes.margins(y=0.12)
        axes.set_xlabel("epoch")
        axes.set_ylabel(metric)
    entries = [
        Line2D([], [], color=_BLUE, linewidth=2.6, label="best trial"),
        Line2D([], [], color=_BLUE, linewidth=1, alpha=0.6, label="ran to the end"),
        Line2D([], [], color=GREY, linewidth=1, alpha=0.6, label="stopped early or failed"),
        *(_entry(end) for end in _STOPPED if any(t.end == end for t in trials)),
    ]
    if any(rungs.values()):
        entries.append(
            Line2D([], [], color=GREY, linewidth=1, linestyle=(0, (1, 2.5)), label="rung")
        )
    add_foot(
        figure,
        "Validation during the search. The best of many trials is too good on average; what it is "
        "worth, its confirmation on fresh seeds tells.",
        entries,
        handle=2.0,
    )
    return figure


def history_figure(trials: Sequence[SearchTrial], metric: str, title: str) -> Figure:
    """Draw the value of every trial by its number, and the best so far, one panel per dataset.

    A stopped trial stands at its last value, which is after fewer epochs: it is marked, and no part
    of the best so far.

    Args:
        trials: At least one.
        metric: What the values are of.
        title: Of the figure.

    Raises:
        ValueError: There are no trials.
    """
    figure, panels = _panels(trials, title)
    for axes, (_, own) in panels:
        for end in _ENDS:
            _mark(axes, [t for t in own if t.end == end], end, lambda t: t.number, 6)
        complete = [t for t in own if t.end == "complete" and t.value is not None]
        if complete:
            best = list(accumulate((t.value or 0.0 for t in complete), max))
            last = max(t.number for t in own)
            axes.step(
                [*(t.number for t in complete), last],
                [*best, best[-1]],
                where="post",
                color=INK,
                linewidth=1.6,
                zorder=2,
            )
        axes.margins(x=0.04, y=0.1)
        axes.set_xlabel("trial")
        axes.set_ylabel(metric)
    entries = [_entry(end) for end in _ENDS if any(t.end == end and t.values for t in trials)]
    entries.append(Line2D([], [], color=INK, linewidth=1.6, label="best so far"))
    add_foot(
        figure,
        "Stopped trials stand at their last value, after fewer epochs than the others.",
        entries,
        handle=1.6,
    )
    return figure


def _panels(
    trials: Sequence[SearchTrial], title: str
) -> tuple[Figure, list[tuple[Axes, tuple[str, list[SearchTrial]]]]]:
    if not trials:
        raise ValueError("a figure of a search needs at least one trial")
    studies = by_dataset(trials)
    columns = min(len(studies), _COLUMNS)
    rows = -(-len(studies) // columns)
    width = {1: 6.6, 2: 8.8, 3: 10.4}[columns]
    figure = Figure(figsize=(width, 3.1 * rows + 0.3), layout="constrained")
    grid = figure.subplots(rows, columns, squeeze=False).ravel()
    for axes in grid[len(studies) :]:
        axes.set_axis_off()
    panels = list(zip(grid, studies.items(), strict=False))
    for axes, (dataset, own) in panels:
        axes.set_title(f"{dataset}: {len(own)} trials", fontsize=11)
        axes.grid(color="#e6e6e6", linewidth=0.7)
        axes.set_axisbelow(True)
        axes.spines[["top", "right"]].set_visible(False)
        axes.xaxis.set_major_locator(MaxNLocator(6, integer=True))
    figure.suptitle(title, fontsize=12)
    return figure, panels


def _mark(
    axes: Axes,
    trials: Sequence[SearchTrial],
    end: TrialEnd,
    place: Callable[[SearchTrial], int],
    size: float,
) -> None:
    """Mark trials of one end at their last value."""
    shown = [trial for trial in trials if trial.value is not None]
    _, marker, face, edge = _ENDS[end]
    axes.plot(
        [place(trial) for trial in shown],
        [trial.value or 0.0 for trial in shown],
        linestyle="none",
        marker=marker,
        markersize=size,
        markerfacecolor=face,
        markeredgecolor=edge,
        markeredgewidth=1.1,
        zorder=4,
    )


def _entry(end: TrialEnd) -> Line2D:
    label, marker, face, edge = _ENDS[end]
    return Line2D(
        [],
        [],
        linestyle="none",
        marker=marker,
        markersize=6,
        markerfacecolor=face,
        markeredgecolor=edge,
        label=label,
    )
