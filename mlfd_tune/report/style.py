"""What all figures have in common: colours, markers, sizes, shortened names and the foot."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from typing import Final

from matplotlib.figure import Figure
from matplotlib.lines import Line2D

__all__ = [
    "COLOURS",
    "FAINT",
    "GREY",
    "INK",
    "LEGEND",
    "MANY_COLOURS",
    "MARKERS",
    "add_foot",
    "ends_of",
    "shortened",
]

INK: Final = "#222222"
GREY: Final = "#767676"
FAINT: Final = "#d4d4d4"

COLOURS: Final = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9")
"""For lines. Okabe and Ito's palette for the colour-blind, without yellow, too faint on white."""

MANY_COLOURS: Final = (*COLOURS, "#7b3294", "#8c510a", "#b2182b", "#4d4d4d")
"""For classes: ten that differ in lightness as well; beyond ten, markers tell them apart."""

MARKERS: Final = ("o", "^", "s", "D")

LEGEND: Final = 9.0
"""Font size of legends, notes and captions in points."""

# In inches at that size, for DejaVu Sans, with some room to spare.
_ROW = 0.19
_LINE = 0.17
_CHARACTER = 0.082
_IN_A_LONG_LINE = 0.064  # wide and narrow characters even out
_MARGIN = 0.08


def shortened(name: str, length: int) -> str:
    """Return `name`, cut to `length` characters with an ellipsis when it is longer."""
    return name if len(name) <= length else name[: length - 1].rstrip() + "…"


def ends_of(name: str, length: int) -> str:
    """Return `name`, cut in its middle: what tells arms of one design apart is often at the end."""
    if len(name) <= length:
        return name
    end = (length - 1) // 2
    return f"{name[: length - 1 - end].rstrip()}…{name[-end:].lstrip()}"


def add_foot(
    figure: Figure, caption: str, entries: Sequence[Line2D] = (), handle: float = 1.0
) -> None:
    """Make a figure higher by a legend and a caption below everything else.

    Called last. matplotlib's own legends "outside" of the axes and captions know nothing of each
    other and overlap, so the room for both is counted here.

    Args:
        figure: A figure with constrained layout.
        caption: What has to be said about it; long lines are wrapped.
        entries: The legend's entries, labelled.
        handle: Length of a line in the legend, in font sizes.
    """
    width, height = figure.get_size_inches()
    labels = [str(entry.get_label()) for entry in entries]
    longest = max(map(len, labels), default=0) * _CHARACTER + (handle + 2.2) * LEGEND / 72
    fitting = max(1, int((width - 2 * _MARGIN) / longest))
    rows = -(-len(entries) // fitting)
    lines = [
        line
        for part in caption.splitlines()
        for line in textwrap.wrap(part, int((width - 2 * _MARGIN) / _IN_A_LONG_LINE))
    ]
    foot = _MARGIN * 3 + _ROW * rows + _LINE * len(lines)
    figure.set_size_inches(width, height + foot)
    share = 1 / (height + foot)
    figure.set_layout_engine("constrained", rect=(0, foot * share, 1, height * share))
    if entries:
        figure.legend(
            handles=list(entries),
            loc="upper center",
            bbox_to_anchor=(0.5, (foot - _MARGIN) * share),
            ncols=-(-len(entries) // rows),
            fontsize=LEGEND,
            frameon=False,
            handlelength=handle,
            handletextpad=0.5,
            columnspacing=1.4,
            borderpad=0,
            borderaxespad=0,
        )
    text = "\n".join(lines)
    figure.text(0.5, _MARGIN * share, text, ha="center", va="bottom", fontsize=LEGEND, color=INK)
