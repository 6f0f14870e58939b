"""Parallel coordinates: what a search tried, one line a trial, and what came of it."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from mlfd_tune.config.distributions import Choice, FloatRange, IntRange, choice_text
from mlfd_tune.config.space import SearchSpace
from mlfd_tune.report.importance_figure import short_names
from mlfd_tune.report.style import COLOURS, GREY, INK, add_foot, shortened
from mlfd_tune.report.trials import SearchTrial, best_of, by_dataset

__all__ = ["parallel_figure"]

_NOT_USED = -0.16
"""Where a line passes an axis whose parameter does not exist in the trial."""
_TEXT = 7.5


@dataclass(frozen=True)
class _Scale:
    """An axis: where values stand on it, from 0 to 1, and its labels."""

    label: str
    places: Mapping[str, float]
    low: float
    high: float
    log: bool
    ticks: Sequence[tuple[float, str]]

    def place(self, value: Any) -> float:
        if self.places:
            return self.places.get(str(choice_text(value)), _NOT_USED)
        low, high, at = self.low, self.high, float(value)
        if self.log:
            low, high, at = math.log(low), math.log(high), math.log(max(at, 1e-300))
        return (at - low) / (high - low) if high > low else 0.5


def parallel_figure(
    trials: Sequence[SearchTrial], spaces: Mapping[str, SearchSpace], metric: str, title: str
) -> Figure:
    """Draw one panel per dataset, an axis per parameter and the value on the last.

    Trials that ran to the end are coloured by their value, brighter is higher; the others are grey
    and end before the last axis, for their values are after fewer epochs.

    Args:
        trials: At least one.
        spaces: What was searched, by dataset.
        metric: What the value is of.
        title: Of the figure.

    Raises:
        ValueError: There are no trials.
    """
    if not trials:
        raise ValueError("a figure of a search needs at least one trial")
    studies = by_dataset(trials)
    most = max(len(spaces[dataset]) for dataset in studies) + 1
    figure = Figure(
        figsize=(max(1.55 * most + 1.2, 7.2), 2.9 * len(studies) + 0.4), layout="constrained"
    )
    grid = figure.subplots(len(studies), 1, squeeze=False).ravel()
    for axes, (dataset, own) in zip(grid, studies.items(), strict=True):
        _draw(axes, own, spaces[dataset], metric)
        axes.set_title(dataset, fontsize=11, loc="left", pad=22)
    figure.suptitle(title, fontsize=12)
    colours = colormaps["viridis"]
    add_foot(
        figure,
        "Brighter is a higher value. A line below an axis: the parameter does not exist in that "
        "trial. Values of the search, not confirmed.",
        [
            Line2D([], [], color=COLOURS[1], linewidth=2.6, label="best trial"),
            Line2D([], [], color=colours(0.85), linewidth=1.6, label="high value"),
            Line2D([], [], color=colours(0.32), linewidth=1.6, label="low value"),
            Line2D([], [], color=GREY, linewidth=0.9, alpha=0.5, label="stopped early or failed"),
        ],
        handle=1.8,
    )
    return figure


def _draw(axes: Axes, trials: Sequence[SearchTrial], space: SearchSpace, metric: str) -> None:
    complete = [t for t in trials if t.end == "complete" and t.value is not None]
    values = [t.value or 0.0 for t in complete]
    keys = [key for key, _ in space.ordered()]
    scales = {
        key: _scale(label, space[key]) for key, label in zip(keys, short_names(keys), strict=True)
    }
    result = _range(metric, min(values, default=0.0), max(values, default=1.0), log=False)
    best = best_of(trials)
    for trial in trials:
        places = [
            scale.place(trial.params[key]) if key in trial.params else _NOT_USED
            for key, scale in scales.items()
        ]
        if trial.end != "complete" or trial.value is None:
            axes.plot(places, color=GREY, linewidth=0.8, alpha=0.4, zorder=1)
            continue
        height = result.place(trial.value)
        is_best = trial == best
        axes.plot(
            [*places, height],
            color=COLOURS[1] if is_best else colormaps["viridis"](0.3 + 0.55 * height),
            linewidth=2.6 if is_best else 1.4,
            alpha=1 if is_best else 0.85,
            zorder=5 if is_best else 2 + height,
        )
    for position, scale in enumerate([*scales.values(), result]):
        _axis(axes, position, scale)
    axes.set_xlim(-0.35, len(scales) + 0.45)
    axes.set_ylim(_NOT_USED - 0.06, 1.06)
    axes.set_axis_off()


def _axis(axes: Axes, position: int, scale: _Scale) -> None:
    axes.plot([position, position], [0, 1], color=INK, linewidth=1.1, zorder=6)
    axes.annotate(
        scale.label,
        (position, 1),
        (0, 8),
        textcoords="offset points",
        ha="center",
        fontsize=8.5,
        color=INK,
        weight="bold",
    )
    for place, label in scale.ticks:
        axes.plot(
            [position - 0.03, position + 0.03], [place, place], color=INK, linewidth=0.9, zorder=6
        )
        axes.annotate(
            label,
            (position, place),
            (5, 0),
            textcoords="offset points",
            va="center",
            fontsize=_TEXT,
            color=INK,
            zorder=7,
            bbox={"facecolor": "white", "edgecolor": "none", "alpha": 0.8, "pad": 0.8},
        )


def _scale(name: str, distribution: FloatRange | IntRange | Choice) -> _Scale:
    label = shortened(name, 20)
    match distribution:
        case Choice():
            names = [str(choice_text(value)) for value in distribution.values()]
            step = 1 / max(len(names) - 1, 1)
            places = {
                name: number * step if len(names) > 1 else 0.5 for number, name in enumerate(names)
            }
            ticks = [(place, shortened(name, 16)) for name, place in places.items()]
            return _Scale(label, places, 0, 1, False, ticks)
        case FloatRange(float=(low, high), log=log):
            return _range(label, low, high, log=log)
        case IntRange(int=(low, high), log=log):
            return _range(label, low, high, log=log)


def _range(label: str, low: float, high: float, *, log: bool) -> _Scale:
    middle = math.sqrt(low * high) if log else (low + high) / 2
    ticks = [(0.0, f"{low:.3g}"), (0.5, f"{middle:.3g}"), (1.0, f"{high:.3g}")]
    return _Scale(label, {}, low, high, log, ticks if high > low else [(0.5, f"{low:.3g}")])
