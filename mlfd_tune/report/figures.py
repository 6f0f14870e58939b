"""Writing a figure to files: the same figure gives the same bytes."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any, Final

import matplotlib
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

__all__ = ["DPI", "save_figure"]

DPI: Final = 150

# Without a salt, names inside an SVG are drawn at random; a date would differ each time.
_SALT = "mlfd-tune"
_METADATA: dict[str, dict[str, Any]] = {"png": {"Software": None}, "svg": {"Date": None}}


def save_figure(figure: Figure, path_without_suffix: Path) -> list[Path]:
    """Write a figure as PNG with 150 dots per inch and as SVG.

    Each file is written under another name and then renamed, so that a reader never sees half of
    it. Folders are made. Where things stand is settled once, so that both files look alike.

    Args:
        figure: The figure.
        path_without_suffix: Where to, such as ``figures/curves``; a dot in the name is kept.

    Returns:
        The two files.
    """
    path_without_suffix.parent.mkdir(parents=True, exist_ok=True)
    _settle(figure)
    written = []
    for form, metadata in _METADATA.items():
        path = path_without_suffix.with_name(f"{path_without_suffix.name}.{form}")
        temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
        with matplotlib.rc_context({"svg.hashsalt": _SALT}):
            figure.savefig(temporary, format=form, dpi=DPI, metadata=metadata)
        temporary.replace(path)
        written.append(path)
    return written


def _settle(figure: Figure) -> None:
    """Lay the figure out and keep it so: a layout engine moves things a little each time."""
    if figure.get_layout_engine() is not None:
        # Twice: only the second time is it known how far a square matrix leaves its room empty.
        for _ in range(2):
            FigureCanvasAgg(figure).draw()  # type: ignore[no-untyped-call]
        figure.set_layout_engine("none")
