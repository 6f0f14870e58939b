"""What was run, how long it took, and what came of it."""

from __future__ import annotations

from collections import Counter

from mlfd_tune.ablation.comparison import AblationResult, Comparison
from mlfd_tune.ablation.statistics import seeds_needed
from mlfd_tune.core.errors import UserError
from mlfd_tune.report.page.formats import NOTHING, difference_cell, interval_cell, time_text
from mlfd_tune.report.page.material import Material
from mlfd_tune.report.page.parts import Absent, Cell, Fact, Facts, Part, Section, Table, Words
from mlfd_tune.report.page.reused import reuse_of
from mlfd_tune.tune.progress import duration

__all__ = ["summary"]


def summary(material: Material) -> Section:
    """Return the first section."""
    results = _of_sweep(material) if material.parent.kind == "sweep" else _of_ablation(material)
    return Section("summary", "Summary", (Facts(_facts(material)), *results))


def _facts(material: Material) -> list[Fact]:
    parent = material.parent
    facts = [
        Fact("Started", time_text(parent.started), parent.status.lower()),
    ]
    if parent.ended is not None:
        facts.append(Fact("Took", duration(parent.ended - parent.started)))
    for kind, name in (("trial", "Trials"), ("confirm", "Confirmations"), ("arm", "Runs of arms")):
        runs = material.of_kind(kind)
        if runs:
            ends = Counter(run.status for run in runs)
            words = {"KILLED": "stopped early", "FAILED": "failed", "RUNNING": "not over"}
            told = [f"{ends[status]} {word}" for status, word in words.items() if ends[status]]
            facts.append(Fact(name, str(len(runs)), ", ".join(told) or "all ran to the end"))
    facts.append(Fact("Datasets", str(len(material.datasets)), ", ".join(material.datasets)))
    reuse = reuse_of(material)
    facts.append(
        Fact("Saved by reuse", duration(reuse.saved), f"{duration(reuse.computed)} computed")
    )
    return facts


def _of_sweep(material: Material) -> list[Part]:
    found = material.confirmed
    if not found:
        return [
            Absent(
                "Nothing was confirmed in this run, so no result is shown: what a search finds is "
                "the best of many trials on validation, which is too good on average; "
                "confirm.top_k and confirm.seeds in the configuration retrain it on fresh seeds.",
            )
        ]
    rows = [
        [
            Cell(one.row.dataset),
            Cell(one.row.method),
            Cell(str(one.row.n_seeds), one.row.n_seeds),
            interval_cell(one.row.test),
            _gain(one.over_baseline),
            _shown(one.over_baseline),
            _gain(one.over_control),
            _shown(one.over_control),
        ]
        for one in found
    ]
    heads = [
        "dataset",
        "method",
        "seeds",
        "test accuracy, %",
        "over the baseline",
        "shown",
        "over the own teacher",
        "shown ",
    ]
    table = Table(
        "table-summary",
        "Best confirmed configuration of each dataset, chosen on validation",
        heads,
        rows,
        frozenset({2, 3, 4, 6}),
        "Intervals: 95 %, Student's t over seeds. Differences in points, paired by seed. What is "
        "shown: exact sign-flip test at the level 0.05, one comparison at a time; it takes "
        f"{seeds_needed(1)} seeds to show anything. The baseline is the same student without "
        "distillation, the own teacher the control without other datasets' teachers.",
    )
    missing = [name for name in material.datasets if name not in {one.row.dataset for one in found}]
    words = [Words(f"Nothing was confirmed on {', '.join(missing)}.")] if missing else []
    return [Words(_verdict([one.over_baseline for one in found])), table, *words]


def _verdict(comparisons: list[Comparison | None]) -> str:
    """Say in one sentence what the confirmations show, a null result included."""
    known = [one for one in comparisons if one is not None]
    if not known:
        return "There is no baseline to compare the confirmed configurations with."
    counts = Counter[str](one.verdict for one in known)
    many = len(known)
    if counts["too few seeds"] == many:
        seeds = min(one.difference.n for one in known)
        return (
            f"Nothing is claimed: {seeds} paired seeds are too few to show a difference to the "
            f"baseline; {seeds_needed(1)} are needed."
        )
    told = [
        f"{counts[verdict]} of {many} {word}"
        for verdict, word in (
            ("higher", "higher than its baseline"),
            ("lower", "lower than its baseline"),
            ("no difference shown", "without a difference shown"),
            ("too few seeds", "with too few seeds"),
        )
        if counts[verdict]
    ]
    return f"Confirmed configurations: {'; '.join(told)}."


def _gain(comparison: Comparison | None) -> Cell:
    return difference_cell(comparison.difference if comparison else None)


def _shown(comparison: Comparison | None) -> Cell:
    return NOTHING if comparison is None else Cell(comparison.verdict, mark=comparison.verdict)


def _of_ablation(material: Material) -> list[Part]:
    try:
        result = material.compared
    except UserError as error:
        return [Absent("; ".join(error.problems))]
    if result is None:
        return []
    return [Words(_claims(result))]


def _claims(result: AblationResult) -> str:
    """Say in two sentences what the arms show, a null result included."""
    compared = [row for row in result.rows if row.comparison is not None]
    if not compared:
        return "No arm is compared with the reference."
    found = [row.comparison for row in compared if row.comparison]
    counts = Counter[str](one.verdict for one in found)
    seeds = min(one.difference.n for one in found)
    family = max(Counter(row.dataset for row in compared).values())
    about = f"{len(found)} comparisons with the reference on {result.metric}, paired by seed"
    if counts["too few seeds"] == len(found):
        return (
            f"{about}. Nothing is claimed: {seeds} seeds are too few for {family} compared arms "
            f"on a dataset; {seeds_needed(family)} are needed."
        )
    told = [f"{count} {verdict}" for verdict, count in counts.most_common()]
    return f"{about}: {', '.join(told)}."
