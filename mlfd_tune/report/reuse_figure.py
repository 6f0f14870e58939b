"""What a run computed and what it was spared, stage kind by stage kind."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from mlfd_tune.report.style import COLOURS, GREY, INK, add_foot
from mlfd_tune.tune.progress import duration

__all__ = ["Reuse", "reuse_figure"]


@dataclass(frozen=True)
class Reuse:
    """One kind of work.

    Attributes:
        name: Such as ``joint teacher``.
        computed: Seconds that this run spent on it.
        saved: Seconds it would have spent besides, had every training computed all it read.
    """

    name: str
    computed: float
    saved: float


def reuse_figure(reuse: Sequence[Reuse], title: str) -> Figure:
    """Draw a bar for each kind of work: what was computed, and behind it what was saved.

    Args:
        reuse: At least one.
        title: Of the figure.

    Raises:
        ValueError: There is none.
    """
    if not reuse:
        raise ValueError("a figure of reuse needs at least one kind of work")
    figure = Figure(figsize=(8.2, 0.42 * len(reuse) + 1.2), layout="constrained")
    axes = figure.subplots()
    places = range(len(reuse))
    computed = [one.computed for one in reuse]
    saved = [one.saved for one in reuse]
    axes.barh(places, computed, 0.62, color=COLOURS[0])
    axes.barh(places, saved, 0.62, left=computed, color="none", edgecolor=GREY, hatch="////")
    for place, one in zip(places, reuse, strict=True):
        axes.annotate(
            f"{duration(one.computed)}, saved {duration(one.saved)}",
            (one.computed + one.saved, place),
            (6, 0),
            textcoords="offset points",
            va="center",
            fontsize=9,
            color=INK,
        )
    axes.set_yticks(places, [one.name for one in reuse], fontsize=9)
    axes.set_ylim(len(reuse) - 0.4, -0.6)
    axes.set_xlim(0, 1.35 * max(max(map(sum, zip(computed, saved, strict=True))), 1e-3))
    axes.set_xlabel("seconds of computing")
    axes.grid(axis="x", color="#e6e6e6", linewidth=0.7)
    axes.set_axisbelow(True)
    axes.tick_params(axis="y", length=0)
    axes.spines[["top", "right", "left"]].set_visible(False)
    figure.suptitle(title, fontsize=12)
    entries = [
        _square("computed in this run", COLOURS[0], "none"),
        _square("saved by reuse", "none", GREY),
    ]
    add_foot(
        figure,
        "Saved: what the run would have computed besides, had every training made all stages it "
        "reads for itself.",
        entries,
    )
    return figure


def _square(label: str, face: str, edge: str) -> Line2D:
    return Line2D(
        [],
        [],
        label=label,
        linestyle="none",
        marker="s",
        markersize=9,
        markerfacecolor=face,
        markeredgecolor=edge,
    )
