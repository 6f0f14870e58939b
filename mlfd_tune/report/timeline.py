"""The timeline of a run: one lane per worker, one bar per stage and trial."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

from matplotlib.axes import Axes
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FuncFormatter, MultipleLocator
from matplotlib.typing import ColorType

from mlfd_tune.report.lanes import Bar, Lane, lanes_of, shares_of, starts_of
from mlfd_tune.report.style import COLOURS, GREY, INK, add_foot, shortened
from mlfd_tune.tune.progress import duration
from mlfd_tune.tune.timeline import Session, Span, SpanOutcome

__all__ = ["timeline_figure"]

_STAGES: Final = {
    "dataset": ("dataset", "#b0b0b0"),
    "teacher": ("teacher", "#2b2b2b"),
    "features": ("features", "#8c510a"),
    "joint_teacher": ("joint teacher", "#7b3294"),
    "targets": ("targets", "#c0a5cf"),
}
"""What a stage is called, and its colour: none of those that trials have."""
_OTHER_STAGE: Final = ("other stage", "#6f6f6f")
_CONFIRM: Final = ("confirmation", "#f0e442")  # Okabe and Ito's yellow: strong enough for areas
_MANY_DATASETS: Final = ("trial", COLOURS[0])
_REPLAYED: Final = 0.35


@dataclass(frozen=True)
class _Mark:
    """How an end that is not the last epoch's is marked."""

    label: str
    scale: float
    style: dict[str, Any]


def _marker(marker: str, colour: str, edge: str) -> dict[str, Any]:
    return {
        "linestyle": "none",
        "marker": marker,
        "color": colour,
        "markeredgecolor": edge,
        "markeredgewidth": 0.6,
    }


_MARKS: Final[dict[SpanOutcome, _Mark]] = {
    "pruned": _Mark("stopped early", 1.0, _marker("v", "white", INK)),
    "interrupted": _Mark("left off", 1.0, _marker(">", INK, "white")),
    "failed": _Mark("failed", 1.5, _marker("X", INK, "white")),
}

_WIDTH = 11.0
_HEIGHTS = ((4, 0.42), (8, 0.32), (16, 0.25))
_LOWEST = 0.19
_TEXT = 7.0
_CHARACTER = 0.068  # inches at that size
_UNITS = (("hours", 3600), ("minutes", 60), ("seconds", 1))
_STEPS = (1, 2, 5, 10, 20, 30, 60, 120, 300, 600, 1200, 1800, 3600, 7200, 14400, 21600, 43200)
_TICKS = 12


def timeline_figure(sessions: Sequence[Session], title: str) -> Figure:
    """Draw what every worker did when; where a lane is white, its worker was idle.

    Every kind of stage has a colour, trials have their dataset's, confirmations one of their own. A
    bar is faint where all came from the store. A stage that a trial computed lies within its bar.

    Args:
        sessions: The run's drivers, at least one; the time between them is left out.
        title: Of the figure.

    Raises:
        ValueError: There are no sessions.
    """
    if not sessions:
        raise ValueError("a figure of a timeline needs at least one session")
    lanes = lanes_of(sessions)
    bars = [bar for lane in lanes for bar in lane.bars]
    looks = _looks([bar.span for bar in bars])
    starts = starts_of(sessions)
    height = next((inches for most, inches in _HEIGHTS if len(lanes) <= most), _LOWEST)
    figure = Figure(figsize=(_WIDTH, height * len(lanes) + 1.15), layout="constrained")
    axes = figure.subplots()
    seconds_per_inch = max(starts[-1], 1e-3) / (_WIDTH - 1.2)
    for number, lane in enumerate(lanes):
        for bar in lane.bars:
            _draw(axes, number, bar, looks, seconds_per_inch)
    _mark(axes, lanes, height, seconds_per_inch)
    for start in starts[1:-1]:
        axes.axvline(start, color=INK, linewidth=1, linestyle=(0, (4, 2)))
        axes.annotate("resumed", (start, -0.5), (2, 2), textcoords="offset points", fontsize=_TEXT)
    _set_axes(axes, lanes, starts[-1])
    shares = shares_of(sessions, len(lanes))
    figure.suptitle(title, fontsize=12)
    workers = f"{len(lanes)} worker{'s' if len(lanes) > 1 else ''}"
    axes.set_title(
        f"{duration(starts[-1])} on {workers}, {shares.busy:.0%} busy: stages {shares.stages:.0%}, "
        f"trials {shares.search:.0%}, confirmation {shares.confirm:.0%}",
        fontsize=10,
    )
    add_foot(figure, _caption(bars, looks), _legend(bars, looks))
    return figure


_Looks = dict[str, tuple[str, str]]


def _looks(spans: Sequence[Span]) -> _Looks:
    """Return name and colour of every dataset's trials."""
    datasets = dict.fromkeys(span.dataset or "" for span in spans if _searches(span))
    if len(datasets) > len(COLOURS):
        return dict.fromkeys(datasets, _MANY_DATASETS)
    return {
        name: (f"trial {name}", colour)
        for name, colour in zip(sorted(datasets), COLOURS, strict=False)
    }


def _searches(span: Span) -> bool:
    return span.is_trial and span.kind != "confirm"


def _look(span: Span, looks: _Looks) -> tuple[str, str]:
    if _searches(span):
        return looks[span.dataset or ""]
    return _CONFIRM if span.kind == "confirm" else _STAGES.get(span.kind, _OTHER_STAGE)


def _draw(axes: Axes, number: int, bar: Bar, looks: _Looks, seconds_per_inch: float) -> None:
    _, colour = _look(bar.span, looks)
    alpha = _REPLAYED if bar.span.reused else 1.0
    # A thin white edge keeps neighbours apart, unless it would hide a bar that is thin itself.
    inches = (bar.end - bar.start) / seconds_per_inch
    edge = min(0.6, inches * 72 / 6)
    axes.broken_barh(
        [(bar.start, bar.end - bar.start)],
        (number - 0.4, 0.8),
        facecolor=(*to_rgb(colour), alpha),
        edgecolor="white",
        linewidth=edge,
    )
    for part in bar.span.parts:
        begin, end = bar.place(part)
        waits = part.kind == "waiting"
        inner = "white" if waits else _STAGES.get(part.kind, _OTHER_STAGE)[1]
        axes.broken_barh(
            [(begin, end - begin)],
            (number - 0.4, 0.8),
            facecolor=inner,
            edgecolor=GREY if waits else "white",
            linewidth=edge,
            hatch="////" if waits else None,
        )
    text = _fitting(bar.span, inches)
    if text:
        dark = sum(to_rgb(colour)) < 1.4 and alpha == 1
        axes.text(
            (bar.start + bar.end) / 2,
            number,
            text,
            ha="center",
            va="center",
            fontsize=_TEXT,
            color="white" if dark else INK,
            clip_on=True,
        )


def _fitting(span: Span, inches: float) -> str:
    """Return the longest name of a span that fits into its bar, or nothing."""
    if span.is_trial:  # such as trial/digits/7 or confirm/digits/1/mlfd/12
        parts = span.label.split("/")[2:]
        names = [" ".join(parts), " ".join(parts[-2:])]
    else:
        names = [span.label, span.dataset or ""]
    return next((name for name in names if len(name) * _CHARACTER < inches - 0.06), "")


def _mark(axes: Axes, lanes: Sequence[Lane], height: float, seconds_per_inch: float) -> None:
    """Mark the ends of trials that did not run to their last epoch."""
    for outcome, mark in _MARKS.items():
        ended = [
            (bar, number)
            for number, lane in enumerate(lanes)
            for bar in lane.bars
            if bar.span.outcome == outcome
        ]
        if not ended:
            continue
        inches = sorted((bar.end - bar.start) / seconds_per_inch for bar, _ in ended)
        points = min(72 * min(0.2 * height, inches[len(inches) // 2]), 5)
        axes.plot(
            [bar.end for bar, _ in ended],
            [number - 0.4 for _, number in ended],
            markersize=max(points, 3) * mark.scale,
            clip_on=False,
            zorder=5,
            **mark.style,
        )


def _set_axes(axes: Axes, lanes: Sequence[Lane], wall: float) -> None:
    axes.set_xlim(0, max(wall, 1e-3))
    axes.set_ylim(len(lanes) - 0.5, -0.65)
    hosts = list(dict.fromkeys(lane.host for lane in lanes if lane.host))
    if len(hosts) > 1:
        names = [f"{shortened(lane.host, 16)} {n}" for n, lane in enumerate(lanes, start=1)]
    else:
        names = [str(number) for number in range(1, len(lanes) + 1)]
        axes.set_ylabel("worker")
    axes.set_yticks(range(len(lanes)), names, fontsize=8)
    axes.tick_params(axis="y", length=0)
    step = next((step for step in _STEPS if wall / step <= _TICKS), _STEPS[-1])
    unit, seconds = next((u, s) for u, s in _UNITS if step % s == 0)
    axes.xaxis.set_major_locator(MultipleLocator(step if wall > 1 else wall / 4 or 1))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value / seconds:g}"))
    axes.set_xlabel(f"time since the start in {unit}")
    axes.grid(axis="x", color="#e6e6e6", linewidth=0.7)
    axes.set_axisbelow(True)
    axes.spines[["top", "right", "left"]].set_visible(False)


def _legend(bars: Sequence[Bar], looks: _Looks) -> list[Line2D]:
    spans = [bar.span for bar in bars]
    used = {_look(span, looks) for span in spans}
    parts = {part.kind for span in spans for part in span.parts}
    used |= {_STAGES.get(kind, _OTHER_STAGE) for kind in parts - {"waiting"}}
    order = [*_STAGES.values(), _OTHER_STAGE, *dict.fromkeys(looks.values()), _CONFIRM]
    entries = [_square(name, colour) for name, colour in order if (name, colour) in used]
    if "waiting" in parts:
        entries.append(_square("waiting for a stage", "white", edge=GREY))
    outcomes = {span.outcome for span in spans}
    entries += [
        Line2D([], [], label=mark.label, markersize=6, **mark.style)
        for outcome, mark in _MARKS.items()
        if outcome in outcomes
    ]
    return entries


def _square(label: str, colour: ColorType, edge: str = "none") -> Line2D:
    return Line2D(
        [],
        [],
        label=label,
        linestyle="none",
        marker="s",
        markersize=9,
        markerfacecolor=colour,
        markeredgecolor=edge,
    )


def _caption(bars: Sequence[Bar], looks: _Looks) -> str:
    text = "A lane is a place that work runs on, one piece at a time; white is idle."
    if any(bar.span.reused for bar in bars):
        text += " What a faint bar has came from the store."
    if any(bar.span.is_trial and bar.span.parts for bar in bars):
        text += " A stage within a trial's bar was computed by the trial's worker."
    if _MANY_DATASETS in looks.values():
        text += f" Trials of all {len(looks)} datasets have one colour."
    return text
