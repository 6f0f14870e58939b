"""From a matplotlib figure to a part of the page, with what reproduces it."""

from __future__ import annotations

from collections.abc import Sequence

from matplotlib.figure import Figure

from mlfd_tune.report.page.material import Material
from mlfd_tune.report.page.parts import Drawing
from mlfd_tune.report.page.svg import drawn

__all__ = ["RUN_KEYS", "draw"]

RUN_KEYS = (
    "kind",
    "seed",
    "seeds",
    "metric",
    "image_size",
    "targets",
    "method",
    "datasets",
    "design",
    "search",
    "confirm",
)
"""Keys of a configuration that decide what a run's figures are of; all else is in the whole."""


def draw(
    material: Material,
    name: str,
    figure: Figure,
    title: str,
    caption: str,
    *command: str,
    keys: Sequence[str] = RUN_KEYS,
    wide: bool = True,
) -> Drawing:
    """Return a figure as a part of a section.

    Args:
        material: What the report is of.
        name: Unique in the page; letters, digits and hyphens.
        figure: The figure.
        title: A few words for who cannot see it.
        caption: What is to be seen, below the figure.
        command: Words of the command that draws it, without ``mlfd-tune`` and the run; by default
            the report's.
        keys: Of the configuration, those it depends on.
        wide: Whether it is too dense to be shrunk to a phone.
    """
    experiment = material.parent.experiment
    words = command or ("report", experiment)
    return Drawing(
        id=f"figure-{name}",
        svg=drawn(figure, name, title, caption),
        caption=caption,
        commands=(material.again(), material.command(*words)),
        config=material.excerpt(*keys),
        wide=wide,
    )
