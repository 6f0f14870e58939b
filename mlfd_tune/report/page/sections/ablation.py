"""Arms against the reference arm: a table for each dataset, and a forest plot."""

from __future__ import annotations

from collections.abc import Sequence

from mlfd_tune.ablation.comparison import AblationResult, ArmRow
from mlfd_tune.core.errors import UserError
from mlfd_tune.report.forest_figure import forest_figure
from mlfd_tune.report.page.drawing import draw
from mlfd_tune.report.page.formats import NOTHING, difference_cell, interval_cell, number_cell
from mlfd_tune.report.page.material import Material
from mlfd_tune.report.page.parts import Absent, Cell, Part, Section, Table

__all__ = ["ablation"]

_TITLE = "Arms compared"


def ablation(material: Material) -> Section | None:
    """Return the section of an ablation; a sweep has no arms."""
    if material.parent.kind != "ablation":
        return None
    try:
        result = material.compared
    except UserError as error:
        return Section("ablation", _TITLE, (Absent("; ".join(error.problems)),))
    if result is None:
        why = (
            "The configuration was not logged with the run, or this version cannot read it, so the "
            "arms' order and reference are not known."
        )
        return Section("ablation", _TITLE, (Absent(why, material.again()),))
    if not result.rows:
        why = "\n".join(["Nothing can be compared.", *result.notes])
        return Section("ablation", _TITLE, (Absent(why, material.again()),))
    parts: list[Part] = [
        _table(number, dataset, [row for row in result.rows if row.dataset == dataset], result)
        for number, dataset in enumerate(dict.fromkeys(row.dataset for row in result.rows))
    ]
    if any(row.comparison for row in result.rows):
        figure = forest_figure(result.rows, result.metric, "Paired differences to the reference")
        parts.insert(
            0,
            draw(
                material,
                "forest",
                figure,
                "Forest plot of the paired differences",
                f"Difference of every arm to the reference arm in {result.metric}, with its 95 % "
                "interval; a filled triangle is a difference shown after correction.",
                keys=("kind", "seed", "seeds", "metric", "targets", "design"),
            ),
        )
    return Section("ablation", _TITLE, parts, note="\n".join(result.notes))


def _table(number: int, dataset: str, rows: Sequence[ArmRow], result: AblationResult) -> Table:
    ends = [
        end
        for row in rows
        for end in (row.mean.mean, row.mean.low, row.mean.high)
        if end is not None
    ]
    seeds = max(row.mean.n for row in rows)
    return Table(
        f"table-arms-{number}",
        f"{dataset}: {result.metric} in %, {seeds} seeds, paired",
        ("arm", "mean", "std", "against reference", "p", "p (Holm)", "effect g", "shown"),
        [_cells(row, max(min(ends), 0.0), min(max(ends), 100.0)) for row in rows],
        frozenset({1, 2, 3, 4, 5, 6}),
        "Mean with its 95 % interval over seeds (BCa bootstrap). Difference in points with its 95 "
        "% interval (Student's t, not corrected). p: exact sign-flip test.",
    )


def _cells(row: ArmRow, low: float, high: float) -> list[Cell]:
    cells = [Cell(row.arm), interval_cell(row.mean, low, high), number_cell(row.std)]
    found = row.comparison
    if found is None:
        word = "reference" if row.is_reference else "–"
        return [*cells, *[NOTHING] * 4, Cell(word, mark=word if row.is_reference else "")]
    return [
        *cells,
        difference_cell(found.difference),
        number_cell(found.p, ".3g"),
        number_cell(found.p_holm, ".3g"),
        number_cell(found.effect, "+.2f"),
        Cell(found.verdict, mark=found.verdict),
    ]
