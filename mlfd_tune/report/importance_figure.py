"""Draws which hyperparameters mattered: shares as bars, and the curve along each parameter."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FuncFormatter, NullFormatter

from mlfd_tune.report.style import COLOURS, FAINT, GREY, MANY_COLOURS, add_foot, ends_of
from mlfd_tune.tune.importance import NOTHING_EXPLAINED, ImportanceReport, Marginal

__all__ = ["importance_figure", "marginals_figure", "parameters_by_share", "short_names"]

_EVALUATORS: Final = {
    "fanova": ("fANOVA: share of variance", COLOURS[0]),
    "ped_anova": ("PED-ANOVA: what sets the best trials apart", COLOURS[1]),
}
_NAME: Final = 26  # characters of a parameter's name
_ACROSS: Final = 3  # datasets side by side
_CURVES_ACROSS: Final = 4
_MOST_CURVES: Final = 16
_FEW_VALUES: Final = 6  # so many numbers stand side by side, as choices do
_TEXT: Final = 8.0


def importance_figure(report: ImportanceReport, title: str) -> Figure:
    """Draw each parameter's share by both evaluators, a panel for each dataset.

    Bars are faint where the forest explains nothing of points it has not seen: noise has shares,
    too.

    Args:
        report: From `importance_of`; at least one importance.
        title: Of the figure.

    Raises:
        ValueError: There are no importances.
    """
    if not report.importances:
        raise ValueError("a figure of importances needs at least one")
    names = parameters_by_share(report)
    datasets = list(dict.fromkeys(one.dataset for one in report.importances))
    across = min(len(datasets), _ACROSS)
    down = -(-len(datasets) // across)
    figure = Figure(
        figsize=(1.9 + 3.7 * across, down * (0.9 + 0.36 * len(names))), layout="constrained"
    )
    panels = figure.subplots(down, across, squeeze=False, sharex=True, sharey=True).flatten()
    for panel, dataset in zip(panels, datasets, strict=False):
        _bars(panel, report, dataset, names)
    for panel in panels[len(datasets) :]:
        panel.set_visible(False)
    for panel in panels[max(0, len(datasets) - across) : len(datasets)]:
        panel.set_xlabel("share")
        panel.tick_params(axis="x", labelbottom=True)
    figure.suptitle(title, fontsize=12)
    entries = [
        Line2D([], [], linestyle="none", marker="s", markersize=9, color=colour, label=label)
        for label, colour in _EVALUATORS.values()
    ]
    add_foot(figure, _bars_caption(report), entries)
    return figure


def marginals_figure(report: ImportanceReport, title: str) -> Figure:
    """Draw what a random forest predicts along each parameter, a panel for each parameter.

    Curves are shifted to a mean of zero, so that datasets of different accuracy share a panel and
    all panels share one scale. Of many parameters those with the largest shares are drawn.

    Args:
        report: From `importance_of`; at least one curve.
        title: Of the figure.

    Raises:
        ValueError: There are no curves.
    """
    if not report.marginals:
        raise ValueError("a figure of marginal curves needs at least one")
    drawn = {one.parameter for one in report.marginals}
    names = [name for name in parameters_by_share(report) if name in drawn][:_MOST_CURVES]
    datasets = list(dict.fromkeys(one.dataset for one in report.marginals))
    colours = {d: MANY_COLOURS[i % len(MANY_COLOURS)] for i, d in enumerate(datasets)}
    across = min(len(names), _CURVES_ACROSS)
    down = -(-len(names) // across)
    figure = Figure(figsize=(max(3.1 * across, 6.2), 2.5 * down), layout="constrained")
    panels = figure.subplots(down, across, squeeze=False, sharey=True).flatten()
    for panel, name, label in zip(panels, names, short_names(names), strict=False):
        own = [one for one in report.marginals if one.parameter == name]
        _curves(panel, own, colours)
        panel.set_title(ends_of(label, 34), fontsize=9)
    for panel in panels[len(names) :]:
        panel.set_visible(False)
    for panel in panels[::across]:
        panel.set_ylabel("points over the mean", fontsize=_TEXT)
    figure.suptitle(title, fontsize=12)
    entries = [Line2D([], [], color=colours[d], linewidth=2, label=d) for d in datasets]
    add_foot(figure, _curves_caption(report, len(names), len(drawn)), entries, handle=1.6)
    return figure


def parameters_by_share(report: ImportanceReport) -> list[str]:
    """Return all parameters, those first that have the largest shares over datasets."""
    shares: dict[str, list[float]] = {}
    for one in report.importances:
        for name, share in one.values.items():
            shares.setdefault(name, []).append(share)
    return sorted(shares, key=lambda name: (-float(np.mean(shares[name])), name))


def short_names(names: Sequence[str]) -> list[str]:
    """Return names without their first section, such as ``beta.stride32``, where none are alike."""
    short = [name.partition(".")[2] or name for name in names]
    return [s if short.count(s) == 1 else name for s, name in zip(short, names, strict=True)]


def _bars(axes: Axes, report: ImportanceReport, dataset: str, names: Sequence[str]) -> None:
    own = [one for one in report.importances if one.dataset == dataset]
    most = _most(report, dataset)
    explained = report.explained.get(dataset)
    shown = explained is None or explained >= NOTHING_EXPLAINED
    judged = {name for one in own for name in one.values}
    for one in own:
        colour = _EVALUATORS[one.evaluator][1]
        shift = -0.2 if one.evaluator == "fanova" else 0.2
        places = np.array([names.index(name) for name in one.values])
        shares = np.array(list(one.values.values()))
        axes.barh(
            places + shift,
            shares,
            height=0.36,
            color=colour,
            alpha=1.0 if shown else 0.35,
            hatch="////" if one.trials < most else None,
            edgecolor="white",
            linewidth=0,
        )
        if one.trials < most and one.evaluator == "fanova":
            for place, share in zip(places, shares, strict=True):
                _say(axes, share, place + shift, f"of {one.trials} points")
    for place, name in enumerate(names):
        if name not in judged:
            _say(axes, 0, place, "in too few points")
    axes.set_xlim(0, 1)
    axes.set_ylim(len(names) - 0.4, -0.6)
    labels = [ends_of(name, _NAME) for name in short_names(names)]
    axes.set_yticks(range(len(names)), labels, fontsize=_TEXT)
    axes.tick_params(axis="y", length=0)
    axes.grid(axis="x", color="#e6e6e6", linewidth=0.7)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)
    axes.set_title(
        f"{dataset}: {most} points at epoch {own[0].rung}{_told(explained)}", fontsize=9.5
    )


def _most(report: ImportanceReport, dataset: str) -> int:
    return max(one.trials for one in report.importances if one.dataset == dataset)


def _told(explained: float | None) -> str:
    if explained is None:
        return ""
    if explained < NOTHING_EXPLAINED:
        return f"\nno importance shown (R² of unseen points {explained:.2f})"
    return f"\n{explained:.0%} of unseen points' variance explained"


def _say(axes: Axes, x: float, y: float, text: str) -> None:
    axes.annotate(
        text, (x, y), (3, 0), textcoords="offset points", va="center", fontsize=6.5, color=GREY
    )


def _curves(axes: Axes, marginals: Sequence[Marginal], colours: dict[str, str]) -> None:
    axes.axhline(0, color=FAINT, linewidth=1, zorder=0)
    values = list(dict.fromkeys(value for one in marginals for value in one.grid))
    if len(values) > _FEW_VALUES and all(map(_is_number, values)):
        for one in marginals:
            _line(axes, one, list(one.grid), colours[one.dataset])
        if any(_is_log(one.grid) for one in marginals):
            axes.set_xscale("log")
            axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
            axes.xaxis.set_minor_formatter(NullFormatter())
    else:
        texts = _in_order(values)
        for number, one in enumerate(marginals):
            shift = 0.12 * (number - (len(marginals) - 1) / 2)  # side by side, or bars would hide
            places = [texts.index(_text(value)) + shift for value in one.grid]
            _dots(axes, one, places, colours[one.dataset])
        room = max(4, 30 // len(texts))
        axes.set_xticks(range(len(texts)), [ends_of(text, room) for text in texts])
        axes.set_xlim(-0.5, len(texts) - 0.5)
    axes.tick_params(labelsize=7.5)
    axes.grid(axis="y", color="#eeeeee", linewidth=0.7)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)


def _line(axes: Axes, one: Marginal, places: Sequence[float], colour: str) -> None:
    mean, low, high = _shifted(one)
    axes.plot(places, mean, color=colour, linewidth=1.6)
    axes.fill_between(places, low, high, color=colour, alpha=0.14, linewidth=0)


def _dots(axes: Axes, one: Marginal, places: Sequence[float], colour: str) -> None:
    mean, low, high = _shifted(one)
    axes.vlines(places, low, high, color=colour, linewidth=1.4, alpha=0.5)
    axes.plot(places, mean, color=colour, marker="o", markersize=5, linestyle="none")


def _shifted(one: Marginal) -> tuple[np.ndarray[Any, Any], ...]:
    level = np.mean(one.mean)
    return np.array(one.mean) - level, np.array(one.low) - level, np.array(one.high) - level


def _in_order(values: Sequence[Any]) -> list[str]:
    """Return the values' texts, numbers by size and all else as it comes."""
    ordered = sorted(values) if all(map(_is_number, values)) else values
    return list(dict.fromkeys(map(_text, ordered)))


def _text(value: Any) -> str:
    return f"{value:g}" if _is_number(value) else str(value)


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _is_log(grid: Sequence[float]) -> bool:
    """Tell whether values are evenly spread in their logarithm, and not in themselves."""
    if len(grid) < 3 or min(grid) <= 0:
        return False
    return grid[-1] - grid[-2] > 1.5 * (grid[1] - grid[0])


def _bars_caption(report: ImportanceReport) -> str:
    text = (
        "fANOVA: variance of a random forest's predictions that is due to the parameter alone; "
        "what is missing to 1 is due to parameters together. PED-ANOVA: how far the best trials "
        "differ from all; it sums to 1 whatever there is to find."
    )
    if any(one.trials < _most(report, one.dataset) for one in report.importances):
        text += " Hatched: the parameter exists in some points only; its share is one of theirs."
    return f"{text} Validation accuracies of single trainings at one epoch."


def _curves_caption(report: ImportanceReport, drawn: int, all_of_them: int) -> str:
    text = (
        "Mean prediction of a random forest over the whole space, shifted to a mean of 0. Bands "
        "and bars: 10th to 90th percentile of its trees, which is not a confidence interval."
    )
    unshown = [d for d, explained in report.explained.items() if explained < NOTHING_EXPLAINED]
    if unshown:
        text += f" The forest explains next to nothing of unseen points of {', '.join(unshown)}."
    if drawn < all_of_them:
        text += f" The {drawn} of {all_of_them} parameters with the largest shares."
    return text
