"""Accuracy epoch by epoch, as in the paper's Figures 2 to 4."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Literal

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray

from mlfd_tune.report.style import COLOURS, INK, MARKERS, add_foot, ends_of

__all__ = ["Curve", "CurveRole", "curves_figure"]

CurveRole = Literal["teacher", "joint_teacher", "student", "baseline", "control"]

_LINES: Final[dict[CurveRole, tuple[str, object]]] = {
    "student": ("student", "-"),
    "joint_teacher": ("joint teacher", (0, (7, 2, 1.5, 2))),
    "teacher": ("teacher", (0, (6, 2.5))),
    "control": ("control", (0, (3.5, 1.5))),
    "baseline": ("baseline", (0, (1.2, 1.4))),
}
"""What a role is called, and its line."""

_METRICS: Final = {
    "val/acc1": "validation accuracy, top-1, in %",
    "val/acc5": "validation accuracy, top-5, in %",
    "val/loss": "validation loss",
    "train/loss": "training loss",
    "train/loss_ce": "training loss, cross entropy",
    "train/loss_kd": "training loss, soft cross entropy",
    "train/lr": "learning rate",
}

_COLUMNS = 3
_LONGER = 3
_LABEL_LENGTH = 56


@dataclass(frozen=True, eq=False)
class Curve:
    """A metric after every epoch, over the seeds of one configuration.

    Attributes:
        label: What it is of, such as a method or an arm.
        dataset: The dataset it was measured on.
        role: What the network is in the comparison.
        epochs: Epochs (E,), rising.
        mean: Mean over the seeds (E,).
        low: Lower end of the mean's 95 % interval (E,); None for one seed.
        high: Upper end (E,); None likewise.
        seeds: Number of seeds.
    """

    label: str
    dataset: str
    role: CurveRole
    epochs: NDArray[np.integer]
    mean: NDArray[np.floating]
    low: NDArray[np.floating] | None
    high: NDArray[np.floating] | None
    seeds: int


def curves_figure(curves: Sequence[Curve], metric: str, title: str) -> Figure:
    """Draw one panel per dataset and one line per label, with 95 % bands over several seeds.

    A label has the same colour in every panel; a role has the same kind of line. The paper's
    figures show test accuracy after each epoch. Here the test split is read once at the end, so the
    curves are of validation, which the caption says.

    Joint teachers learn from cached features and may take many more epochs than all others. The
    axis then ends a little after the others do.

    Args:
        curves: At least one.
        metric: What they show, such as ``val/acc1``.
        title: Of the figure.

    Raises:
        ValueError: There are no curves.
    """
    if not curves:
        raise ValueError("a figure of curves needs at least one")
    datasets = list(dict.fromkeys(curve.dataset for curve in curves))
    looks = _looks(curves)
    columns = min(len(datasets), _COLUMNS)
    rows = math.ceil(len(datasets) / columns)
    figure = Figure(figsize=(max(4.2 * columns, 7.0), 3.3 * rows + 0.4), layout="constrained")
    grid = figure.subplots(rows, columns, squeeze=False).ravel()
    cut = []
    for axes, dataset in zip(grid, datasets, strict=False):
        own = [curve for curve in curves if curve.dataset == dataset]
        for curve in own:
            _draw(axes, curve, looks[curve.label])
        cut += _limit_epochs(axes, own)
        if "/acc" in metric:
            # With few seeds an interval may reach beyond what an accuracy can be.
            low, high = axes.get_ylim()
            axes.set_ylim(max(low, 0), min(high, 101))
        axes.set_title(dataset, fontsize=11)
        axes.set_xlabel("epoch")
        axes.grid(color="#e6e6e6", linewidth=0.7)
        axes.spines[["top", "right"]].set_visible(False)
        axes.xaxis.set_major_locator(MaxNLocator(6, integer=True))
    for axes in grid[len(datasets) :]:
        axes.set_axis_off()
    for axes in grid[::columns]:
        axes.set_ylabel(_METRICS.get(metric, metric))
    figure.suptitle(title, fontsize=12)
    add_foot(figure, _caption(curves, metric, cut), _legend(curves, looks), handle=3.6)
    return figure


@dataclass(frozen=True)
class _Look:
    colour: str
    line: object
    marker: str | None


def _looks(curves: Sequence[Curve]) -> dict[str, _Look]:
    """Return how each label looks; where colours come round again, markers tell them apart."""
    looks: dict[str, _Look] = {}
    roles = {curve.label: curve.role for curve in reversed(curves)}
    free = 0
    for label in dict.fromkeys(curve.label for curve in curves):
        line = _LINES[roles[label]][1]
        if roles[label] == "teacher" and not any(look.colour == INK for look in looks.values()):
            looks[label] = _Look(INK, line, None)
            continue
        again, colour = divmod(free, len(COLOURS))
        marker = MARKERS[(again - 1) % len(MARKERS)] if again else None
        looks[label] = _Look(COLOURS[colour], line, marker)
        free += 1
    return looks


def _draw(axes: Axes, curve: Curve, look: _Look) -> None:
    # A network that was loaded, not trained, is measured once.
    marker = look.marker or ("o" if len(curve.epochs) == 1 else None)
    axes.plot(
        curve.epochs,
        curve.mean,
        color=look.colour,
        linestyle=look.line,
        marker=marker,
        markersize=4,
        markevery=max(1, len(curve.epochs) // 8),
        linewidth=1.8 if curve.role == "student" else 1.5,
        label=curve.label,
        zorder=3,
    )
    if curve.low is not None and curve.high is not None:
        axes.fill_between(
            curve.epochs,
            curve.low,
            curve.high,
            color=look.colour,
            alpha=0.14,
            linewidth=0,
            zorder=2,
        )


def _limit_epochs(axes: Axes, curves: Sequence[Curve]) -> list[str]:
    """End the axis after the other curves where joint teachers go on for long; say which do."""
    others = [int(c.epochs[-1]) for c in curves if c.role != "joint_teacher"]
    if not others or max(others) < 2:
        return []
    longer = [
        curve
        for curve in curves
        if curve.role == "joint_teacher" and curve.epochs[-1] > _LONGER * max(others)
    ]
    if not longer:
        return []
    first = min(int(curve.epochs[0]) for curve in curves)
    axes.set_xlim(first - 0.5, 1.1 * max(others))
    return [
        f"{curve.dataset}, {ends_of(curve.label, _LABEL_LENGTH)}: "
        f"{curve.mean[-1]:.1f} at epoch {curve.epochs[-1]}"
        for curve in longer
    ]


def _caption(curves: Sequence[Curve], metric: str, cut: Sequence[str]) -> str:
    parts = []
    if metric.startswith("val/"):
        parts.append(
            "Measured on the validation split after every epoch; the test split is read once, "
            "after training."
        )
    seeds = sorted({curve.seeds for curve in curves if curve.low is not None})
    if seeds:
        over = f"{seeds[0]}" if len(seeds) == 1 else f"{seeds[0]} to {seeds[-1]}"
        parts.append(f"Lines: mean over {over} seeds; bands: its 95 % interval (Student's t).")
    if any(curve.seeds == 1 for curve in curves):
        parts.append("Lines without a band: one seed.")
    lines = [" ".join(parts)] if len(parts) < 3 else [parts[0], " ".join(parts[1:])]
    if cut:
        shown = "; ".join(cut[:3]) + ("; ..." if len(cut) > 3 else "")
        lines.append(f"Joint teachers that go on beyond the axis: {shown}.")
    return "\n".join(lines)


def _legend(curves: Sequence[Curve], looks: Mapping[str, _Look]) -> list[Line2D]:
    """Return an entry for each label, in the order of roles."""
    roles = {curve.label: curve.role for curve in reversed(curves)}
    order = [label for role in _LINES for label in looks if roles[label] == role]
    return [
        Line2D(
            [],
            [],
            color=looks[label].colour,
            linestyle=looks[label].line,  # type: ignore[arg-type]
            marker=looks[label].marker,
            markersize=4,
            linewidth=1.8,
            label=_entry(label, _LINES[roles[label]][0]),
        )
        for label in order
    ]


def _entry(label: str, role: str) -> str:
    """Say the role unless the label does."""
    shown = ends_of(label, _LABEL_LENGTH)
    return shown if role in label.replace("_", " ") else f"{shown} ({role})"
