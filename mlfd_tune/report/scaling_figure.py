"""Draws what more teachers gain and cost: three panels over the number of teachers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter

from mlfd_tune.core.statistics import mean_interval
from mlfd_tune.report.scaling import CostKind, ScalingRow, power_laws
from mlfd_tune.report.scaling_tables import law_text
from mlfd_tune.report.style import COLOURS, INK, MARKERS, add_foot, shortened

__all__ = ["scaling_figure"]

_FEW = 6
"""So many datasets are told apart by colour; more are grey around their mean."""


def scaling_figure(rows: Sequence[ScalingRow], title: str) -> Figure:
    """Draw gain, seconds per stage and bytes per stage against the number of teachers.

    Hollow points are gains whose interval contains zero. The costs are on logarithmic axes, where a
    power law is a straight line; the legend bears its exponent.

    Args:
        rows: From `scaling_rows`; at least one.
        title: Of the figure.

    Raises:
        ValueError: There are no rows.
    """
    if not rows:
        raise ValueError("a figure of scaling needs at least one row")
    figure = Figure(figsize=(13.2, 6.0), layout="constrained")
    left, middle, right = figure.subplots(1, 3)
    _gains(left, rows)
    _costs(middle, rows, "seconds", 1.0, "seconds of computing")
    _costs(right, rows, "bytes", 1e6, "megabytes in the store")
    numbers = sorted({row.teachers for row in rows})
    for axes in (left, middle, right):
        axes.set_xscale("log", base=2)
        axes.set_xticks(numbers, [str(number) for number in numbers])
        axes.set_xlim(numbers[0] / 1.25, numbers[-1] * 1.25)
        axes.minorticks_off()
        axes.set_xlabel("teachers that are fused")
        axes.grid(color="#e6e6e6", linewidth=0.7)
        axes.spines[["top", "right"]].set_visible(False)
        _legend_below(axes)
    figure.suptitle(title, fontsize=12)
    add_foot(figure, _caption(rows))
    return figure


def _gains(axes: Axes, rows: Sequence[ScalingRow]) -> None:
    known = [row for row in rows if row.gain is not None]
    datasets = sorted({row.dataset for row in known})
    axes.axhline(0, color=INK, linewidth=1)
    axes.set_title("gain over the same student without distillation", fontsize=10.5)
    if not known:
        axes.text(0.5, 0.5, "no baseline to compare with", transform=axes.transAxes, ha="center")
        return
    axes.set_ylabel(f"{known[0].gain_metric}, percentage points")
    for place, dataset in enumerate(datasets):
        few = len(datasets) <= _FEW
        own = [row for row in known if row.dataset == dataset]
        # Side by side, or their bars would cover each other.
        shift = 2 ** (0.11 * (place - (len(datasets) - 1) / 2)) if few else 1.0
        _one_gain(axes, own, shift, COLOURS[place] if few else "#b0b0b0", few)
    if len(datasets) > 1:
        _mean_gain(axes, known, len(datasets))


def _one_gain(axes: Axes, rows: Sequence[ScalingRow], shift: float, colour: str, few: bool) -> None:
    for row in rows:
        gain = row.gain
        assert gain is not None
        at = row.teachers * shift
        if few and gain.low is not None and gain.high is not None:
            axes.plot([at, at], [gain.low, gain.high], color=colour, linewidth=1.4)
        axes.plot(
            at,
            gain.mean,
            marker="o",
            markersize=6 if few else 3.5,
            color=colour,
            markerfacecolor="white" if row.undecided else colour,
            linestyle="",
            zorder=3,
        )
    if few:  # for the legend
        axes.plot([], [], marker="o", color=colour, label=shortened(rows[0].dataset, 20))


def _mean_gain(axes: Axes, rows: Sequence[ScalingRow], datasets: int) -> None:
    by_number: dict[int, list[float]] = {}
    for row in rows:
        assert row.gain is not None
        by_number.setdefault(row.teachers, []).append(row.gain.mean)
    numbers = sorted(by_number)
    intervals = [mean_interval(by_number[number]) for number in numbers]
    label = f"mean of {datasets} datasets"
    if datasets > _FEW:
        label += " and its 95 % interval over them"
        known = [interval for interval in intervals if interval.low is not None]
        if len(known) == len(intervals):
            low, high = ([getattr(one, end) for one in known] for end in ("low", "high"))
            axes.fill_between(numbers, low, high, color=INK, alpha=0.12, linewidth=0, zorder=1)
    axes.plot(numbers, [interval.mean for interval in intervals], color=INK, label=label, zorder=2)


def _costs(axes: Axes, rows: Sequence[ScalingRow], of: CostKind, unit: float, name: str) -> None:
    laws = power_laws(rows, of)
    points: dict[str, list[tuple[int, float]]] = {}
    for lineup, costs in {row.lineup: row.costs(of) for row in rows}.items():
        for stage, value in costs.items():
            if value > 0:
                points.setdefault(stage, []).append((len(lineup), value / unit))
    places = {stage: place for place, stage in enumerate(points) if stage != "total"}
    for stage in [*places, "total"]:
        numbers, values = np.array(sorted(points[stage])).T
        look = _stage_look(places.get(stage))
        label = f"{stage.replace('_', ' ')}: {law_text(laws.get(stage))}".rstrip(": ")
        axes.plot(numbers, values, label=label, markersize=5, **look)
    axes.set_yscale("log")
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axes.set_ylabel(name)
    axes.set_title(f"{name}, per stage", fontsize=10.5)


def _stage_look(place: int | None) -> dict[str, Any]:
    """Return how a stage's line looks; None for the total."""
    if place is None:
        return {"color": INK, "linewidth": 2, "linestyle": "--"}
    marker = MARKERS[place % len(MARKERS)]
    return {"color": COLOURS[place % len(COLOURS)], "linewidth": 1.4, "marker": marker}


def _legend_below(axes: Axes) -> None:
    handles, labels = axes.get_legend_handles_labels()
    if handles:
        axes.legend(
            handles,
            labels,
            loc="upper center",
            bbox_to_anchor=(0.5, -0.14),
            fontsize=8.5,
            frameon=False,
            ncols=1 if max(map(len, labels)) > 24 else 2,
        )


def _caption(rows: Sequence[ScalingRow]) -> str:
    lines = []
    gains = [row for row in rows if row.gain is not None]
    if gains:
        seeds = sorted({row.gain.n for row in gains if row.gain is not None})
        over = str(seeds[0]) if len(seeds) == 1 else f"{seeds[0]} to {seeds[-1]}"
        none = sum(row.undecided for row in gains)
        lines.append(
            f"Gains: mean of {over} seeds, paired, with 95 % intervals (Student's t); hollow: the "
            f"interval contains zero ({none} of {len(gains)})."
        )
    datasets = len({row.dataset for row in rows})
    lines.append(
        f"Costs: one student of each of {datasets} target datasets and all it stands on, each "
        "artifact once. n^b: least squares of logarithms, 95 % interval of b."
    )
    missing = max(row.missing for row in rows)
    if missing:
        lines.append(f"The store lacks up to {missing} artifacts: costs are too low.")
    return "\n".join(lines)
