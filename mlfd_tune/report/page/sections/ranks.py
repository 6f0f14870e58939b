"""Arms across datasets, by rank."""

from __future__ import annotations

from mlfd_tune.core.errors import UserError
from mlfd_tune.report.page.drawing import draw
from mlfd_tune.report.page.material import Material
from mlfd_tune.report.page.parts import Absent, Section
from mlfd_tune.report.ranks_figure import ranks_figure

__all__ = ["ranks"]

_TITLE = "Critical difference"


def ranks(material: Material) -> Section | None:
    """Return the section of an ablation; None where its arms cannot be compared at all."""
    if material.parent.kind != "ablation":
        return None
    try:
        result = material.compared
    except UserError:  # told in the section of the arms
        return None
    if result is None:
        return None
    if result.ranks is None:
        why = (
            "Ranks across datasets need three arms or more that two datasets or more have in "
            "common; name more of them in design and targets."
        )
        return Section("ranks", _TITLE, (Absent(why),))
    figure = draw(
        material,
        "ranks",
        ranks_figure(result.ranks, "Mean ranks across datasets"),
        "Critical difference diagram",
        f"Mean rank of every arm over {result.ranks.blocks} datasets by {result.metric}. Arms that "
        "a bar joins are not shown to differ.",
        keys=("kind", "seed", "seeds", "metric", "targets", "design"),
    )
    return Section("ranks", _TITLE, (figure,))
