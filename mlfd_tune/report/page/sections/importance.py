"""Which hyperparameters mattered."""

from __future__ import annotations

from collections.abc import Sequence

from mlfd_tune.core.errors import UserError
from mlfd_tune.report.importance_figure import importance_figure, marginals_figure
from mlfd_tune.report.interactions_figure import interactions_figure
from mlfd_tune.report.page.drawing import draw
from mlfd_tune.report.page.formats import number_cell
from mlfd_tune.report.page.material import Material
from mlfd_tune.report.page.parts import Absent, Cell, Part, Section, Table
from mlfd_tune.tune.importance import (
    NOTHING_EXPLAINED,
    ImportanceReport,
    Interaction,
    importance_of,
)

__all__ = ["importance"]

_TITLE = "Importance"
_STUDIES = "studies.db"
_KEYS = ("kind", "seed", "targets", "search")
_MOST = 20


def importance(material: Material) -> Section | None:
    """Return the section of a sweep; an ablation has no search space."""
    if material.parent.kind != "sweep":
        return None
    experiment = material.parent.experiment
    if material.folder is None or not (material.folder / _STUDIES).is_file():
        why = (
            f"The folder of run {material.parent.id} is not at hand; the record of the search is "
            "in it. Name the folder of all runs with --runs, on the machine that ran the sweep."
        )
        again = material.command("report", experiment)
        return Section("importance", _TITLE, (Absent(why, again),))
    try:
        found = importance_of(material.folder / _STUDIES)
    except UserError as error:
        why = "\n".join(["This run cannot tell which parameters mattered.", *error.problems])
        return Section("importance", _TITLE, (Absent(why),))
    note = "\n".join(found.notes)
    return Section("importance", _TITLE, _parts(material, found), note=note)


def _parts(material: Material, found: ImportanceReport) -> list[Part]:
    words = ("importance", material.parent.experiment)
    parts: list[Part] = []
    if found.importances:
        figure = importance_figure(found, "What mattered in the search")
        parts.append(
            draw(
                material,
                "importance",
                figure,
                "Importance of parameters",
                "How much of what the trials reached is owed to each parameter.",
                *words,
                keys=_KEYS,
            )
        )
    if found.marginals:
        figure = marginals_figure(found, "Along each parameter, averaged over the others")
        parts.append(
            draw(
                material,
                "marginals",
                figure,
                "Marginal curves",
                "What a random forest predicts along each parameter.",
                *words,
                keys=_KEYS,
            )
        )
    if found.interactions:
        figure = interactions_figure(found, "Pairs of parameters")
        parts.append(
            draw(
                material,
                "interactions",
                figure,
                "Interactions of parameters",
                "How much of what two parameters do together is more than what each does.",
                *words,
                keys=_KEYS,
            )
        )
    # Where the forest explains nothing, its interactions are those of noise.
    shown = [one for one in found.interactions if _is_explained(found, one.dataset)]
    if shown:
        parts.append(_table(shown[:_MOST]))
    return parts


def _is_explained(found: ImportanceReport, dataset: str) -> bool:
    return found.explained.get(dataset, 1.0) >= NOTHING_EXPLAINED


def _table(interactions: Sequence[Interaction]) -> Table:
    return Table(
        "table-interactions",
        "Interactions of two parameters",
        ("dataset", "first", "second", "strength"),
        [
            [
                Cell(one.dataset),
                Cell(one.first),
                Cell(one.second),
                number_cell(one.strength, ".2f"),
            ]
            for one in interactions
        ],
        frozenset({3}),
        "Friedman's H: the share of what two parameters do together that is more than the sum of "
        "what each does; 0 for none, 1 for all.",
    )
