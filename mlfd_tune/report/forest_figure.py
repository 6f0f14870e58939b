"""A forest plot: every arm's paired difference to the reference arm, with its interval."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from mlfd_tune.ablation.comparison import ArmRow, Verdict
from mlfd_tune.report.style import COLOURS, GREY, INK, add_foot, ends_of

__all__ = ["forest_figure"]

_LOOKS: Final[Mapping[Verdict, tuple[str, str, str]]] = {
    "higher": ("^", COLOURS[0], COLOURS[0]),
    "lower": ("v", COLOURS[1], COLOURS[1]),
    "no difference shown": ("o", "white", GREY),
    "too few seeds": ("d", "white", GREY),
}
"""Marker, its face and its edge, by what is shown: shapes tell it without colours, too."""

_ROW = 0.32
_NAME = 40


def forest_figure(rows: Sequence[ArmRow], metric: str, title: str) -> Figure:
    """Draw one panel per dataset with a line for each arm but the reference.

    Args:
        rows: Of one ablation; at least one has a comparison.
        metric: What is compared.
        title: Of the figure.

    Raises:
        ValueError: No row is compared with a reference.
    """
    compared = [row for row in rows if row.comparison is not None]
    if not compared:
        raise ValueError("a forest plot needs at least one comparison")
    panels = {
        dataset: [row for row in compared if row.dataset == dataset]
        for dataset in dict.fromkeys(row.dataset for row in compared)
    }
    references = {row.dataset: row.arm for row in rows if row.is_reference}
    heights = [_ROW * len(own) + 0.55 for own in panels.values()]
    figure = Figure(figsize=(8.6, sum(heights) + 0.6), layout="constrained")
    grid = figure.subplots(len(panels), 1, squeeze=False, height_ratios=heights).ravel()
    for axes, (dataset, own) in zip(grid, panels.items(), strict=True):
        _draw(axes, own)
        axes.set_title(
            f"{dataset}: against {ends_of(references.get(dataset, 'the reference'), _NAME)}",
            fontsize=10.5,
            loc="left",
        )
    grid[-1].set_xlabel(f"difference in {metric}, percentage points")
    figure.suptitle(title, fontsize=12)
    shown = dict.fromkeys(row.comparison.verdict for row in compared if row.comparison)
    add_foot(
        figure,
        "Mean paired difference over the seeds both arms have, with its 95 % interval (Student's "
        "t, not corrected for the number of arms). What a marker says is corrected: exact "
        "sign-flip test, Holm over the arms of one dataset.",
        [_entry(verdict) for verdict in _LOOKS if verdict in shown],
    )
    return figure


def _draw(axes: Axes, rows: Sequence[ArmRow]) -> None:
    axes.axvline(0, color=INK, linewidth=1, zorder=1)
    for place, row in enumerate(rows):
        assert row.comparison is not None
        interval = row.comparison.difference
        marker, face, edge = _LOOKS[row.comparison.verdict]
        if interval.low is not None and interval.high is not None:
            axes.plot(
                [interval.low, interval.high],
                [place, place],
                color=edge,
                linewidth=2,
                solid_capstyle="butt",
                zorder=2,
            )
        axes.plot(
            interval.mean,
            place,
            marker=marker,
            markersize=7.5,
            markerfacecolor=face,
            markeredgecolor=edge,
            markeredgewidth=1.4,
            zorder=3,
        )
        axes.annotate(
            f"{interval.mean:+.2f}",
            (1, place),
            (6, 0),
            xycoords=("axes fraction", "data"),
            textcoords="offset points",
            va="center",
            fontsize=9,
            color=INK,
            annotation_clip=False,
        )
    axes.set_yticks(range(len(rows)), [ends_of(row.arm, _NAME) for row in rows], fontsize=9)
    axes.set_ylim(len(rows) - 0.4, -0.6)
    axes.grid(axis="x", color="#e6e6e6", linewidth=0.7)
    axes.set_axisbelow(True)
    axes.tick_params(axis="y", length=0)
    axes.spines[["top", "right", "left"]].set_visible(False)


def _entry(verdict: Verdict) -> Line2D:
    marker, face, edge = _LOOKS[verdict]
    return Line2D(
        [],
        [],
        linestyle="none",
        marker=marker,
        markersize=7,
        markerfacecolor=face,
        markeredgecolor=edge,
        markeredgewidth=1.4,
        label=verdict,
    )
