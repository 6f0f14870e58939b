"""Which worker did what when."""

from __future__ import annotations

from mlfd_tune.core.errors import UserError
from mlfd_tune.report.page.drawing import draw
from mlfd_tune.report.page.material import Material
from mlfd_tune.report.page.parts import Absent, Section
from mlfd_tune.report.page.svg import keep_text_on_areas_dark
from mlfd_tune.report.timeline import timeline_figure
from mlfd_tune.tune.timeline import read_timeline

__all__ = ["timeline"]

_TITLE = "Timeline"


def timeline(material: Material) -> Section:
    """Return the section."""
    experiment = material.parent.experiment
    if material.folder is None:
        why = (
            f"The folder of run {material.parent.id} is not at hand; the timeline is in it. "
            "Name the folder of all runs with --runs, on the machine that ran the experiment."
        )
        return Section("timeline", _TITLE, (Absent(why, material.command("report", experiment)),))
    try:
        sessions = read_timeline(material.folder)
    except UserError as error:
        return Section("timeline", _TITLE, (Absent(f"{'; '.join(error.problems)}."),))
    figure = timeline_figure(sessions, "Which worker did what when")
    keep_text_on_areas_dark(figure)
    drawing = draw(
        material,
        "timeline",
        figure,
        "Timeline of the run",
        "Every stage and training on the worker that did it, by the time since the start.",
        *("plot", "timeline", experiment),
        keys=("kind", "search", "design", "seeds", "confirm", "resources"),
    )
    return Section("timeline", _TITLE, (drawing,))
