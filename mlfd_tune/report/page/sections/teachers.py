"""What each teacher contributes."""

from __future__ import annotations

from mlfd_tune.ablation.contribution import contributions
from mlfd_tune.core.errors import UserError
from mlfd_tune.report.contribution_figure import contribution_figure
from mlfd_tune.report.page.drawing import draw
from mlfd_tune.report.page.formats import difference_cell
from mlfd_tune.report.page.material import Material
from mlfd_tune.report.page.parts import Absent, Cell, Section, Table

__all__ = ["teachers"]

_TITLE = "Contribution of teachers"
_KEYS = ("kind", "seed", "seeds", "metric", "targets", "design")


def teachers(material: Material) -> Section | None:
    """Return the section of a design over subsets of teachers; no other can tell."""
    config = material.ablation
    if config is None or config.design.kind != "teacher_subsets":
        return None
    try:
        result = material.compared
    except UserError:  # told in the section of the arms
        return None
    found = contributions(config, result.rows) if result else []
    if not found:
        why = "Too few arms are finished to tell what any teacher contributes."
        return Section("teachers", _TITLE, (Absent(why, material.again()),))
    figure = draw(
        material,
        "teachers",
        contribution_figure(found, config.metric, "What each teacher contributes"),
        "Contribution of each teacher",
        "Shapley value of each teacher and what its absence costs, in points of "
        f"{config.metric}, with 95 % intervals over seeds.",
        keys=_KEYS,
    )
    table = Table(
        "table-teachers",
        "Contribution of each teacher, in points",
        ("student of", "teacher of", "Shapley value", "drop one", "seeds"),
        [
            [
                Cell(one.dataset),
                Cell(one.teacher),
                difference_cell(one.shapley),
                difference_cell(one.drop_one),
                Cell(str(one.n), one.n),
            ]
            for one in found
        ],
        frozenset({2, 3, 4}),
        "Intervals that hold zero show no contribution.",
    )
    return Section("teachers", _TITLE, (figure, table))
