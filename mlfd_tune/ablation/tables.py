"""The tables of an ablation: its arms per dataset, and their ranks across datasets."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from mlfd_tune.ablation.comparison import AblationResult, ArmRow, Comparison
from mlfd_tune.ablation.statistics import ALPHA, Ranks
from mlfd_tune.ablation.table_model import Cell, Column, Number, ResultTable, marked
from mlfd_tune.core.statistics import Interval

if TYPE_CHECKING:
    from mlfd_tune.ablation.contribution import Contribution

__all__ = [
    "ablation_tables",
    "arm_table",
    "interval_cell",
    "p_text",
    "ranks_table",
    "teachers_table",
]

_ARMS = (
    Column("arm", ("arm",), is_number=False),
    Column("mean", ("mean", "n")),
    Column("std", ("std",)),
    Column("95 % interval", ("mean_low", "mean_high")),
    Column("difference", ("difference", "difference_low", "difference_high", "pairs")),
    Column("p (Holm)", ("p_holm", "p", "p_floor")),
    Column("effect", ("hedges_g",)),
    Column("verdict", ("verdict",), is_number=False),
)
_RANKS = (
    Column("arm", ("arm",), is_number=False),
    Column("mean rank", ("mean_rank",)),
    Column("p (Nemenyi)", ("p_nemenyi",)),
)
_TEACHERS = (
    Column("dataset", ("dataset",), is_number=False),
    Column("teacher", ("teacher",), is_number=False),
    Column("Shapley value", ("shapley", "shapley_low", "shapley_high", "seeds")),
    Column("lost without it", ("drop_one", "drop_one_low", "drop_one_high", "seeds")),
)


def ablation_tables(
    result: AblationResult, contributions: Sequence[Contribution] = ()
) -> list[ResultTable]:
    """Return one table per dataset, that of the ranks if there are any, and of the teachers."""
    datasets = dict.fromkeys(row.dataset for row in result.rows)
    tables = [
        arm_table([row for row in result.rows if row.dataset == dataset], result.metric)
        for dataset in datasets
    ]
    if result.ranks is not None:
        reference = next(iter(row.arm for row in result.rows if row.is_reference), None)
        tables.append(ranks_table(result.ranks, reference))
    if contributions:
        tables.append(teachers_table(contributions, result.metric))
    return tables


def arm_table(rows: Sequence[ArmRow], metric: str) -> ResultTable:
    """Return the arms of one dataset against their reference arm.

    The highest mean is marked best and the next one second, among these arms only. A mark is no
    claim; the verdict is.

    Args:
        rows: At least one, all of one dataset.
        metric: What is compared, such as `val/acc1`.
    """
    dataset = rows[0].dataset
    reference = next((row.arm for row in rows if row.is_reference), None)
    against = f"; difference to {reference}, paired by seed" if reference else ""
    means = marked([Cell(f"{row.mean.mean:.2f}", (row.mean.mean, row.mean.n)) for row in rows])
    return ResultTable(
        title=f"{dataset} · {metric} in %, {_seeds(rows)}{against}",
        columns=_ARMS,
        rows=tuple(_arm_cells(row, mean) for row, mean in zip(rows, means, strict=True)),
        caption=(
            f"Accuracy in %, differences in points. Bold: highest mean on {dataset}, underlined: "
            "second highest; neither is a claim, the verdict is. Intervals: BCa bootstrap of a "
            "mean (too narrow with few seeds), Student t of a difference, each for itself. p: "
            f"exact sign-flip test, Holm-corrected; claimed at {ALPHA:g} at most. Effect: Hedges g "
            "of paired differences."
        ),
        keys={"dataset": dataset, "metric": metric},
    )


def ranks_table(ranks: Ranks, reference: str | None) -> ResultTable:
    """Return the mean ranks across datasets, the best first.

    Args:
        ranks: The ranks.
        reference: The arm that p values are against.
    """
    rows = []
    for arm, rank in sorted(zip(ranks.arms, ranks.mean_ranks, strict=True), key=lambda row: row[1]):
        pair = (arm, reference)
        p = ranks.p_pairs.get(pair, ranks.p_pairs.get(pair[::-1])) if reference else None  # type: ignore[arg-type]
        text = "reference" if arm == reference else p_text(p)
        rows.append((Cell(arm, (arm,)), Cell(f"{rank:.2f}", (rank,)), Cell(text, (p,))))
    shown = "the ranks differ" if ranks.p <= ALPHA else "no difference of ranks is shown"
    against = f" p: against {reference}." if reference else ""
    return ResultTable(
        title=(
            f"mean ranks on {ranks.blocks} datasets · Friedman p {_with_sign(ranks.p)}, "
            f"critical difference {ranks.critical_difference:.2f}"
        ),
        columns=_RANKS,
        rows=tuple(rows),
        caption=(
            f"Rank 1 is best. Friedman's test: {shown}. Mean ranks differ where they are further "
            f"apart than Nemenyi's critical difference.{against} Both tests are approximate with "
            "few datasets."
        ),
    )


def teachers_table(contributions: Sequence[Contribution], metric: str) -> ResultTable:
    """Return what each teacher contributes.

    Args:
        contributions: At least one.
        metric: What the accuracies are, such as `val/acc1`.
    """
    orders = " over sampled orders of the teachers" if contributions[0].sampled else ""
    left_out = {one.dataset: one.left_out for one in contributions if one.left_out}
    lacking = [f" {count} seeds of {name} lack an arm." for name, count in left_out.items()]
    return ResultTable(
        title=f"what each teacher contributes · {metric}, points",
        columns=_TEACHERS,
        rows=tuple(
            (
                Cell(one.dataset, (one.dataset,)),
                Cell(one.teacher, (one.teacher,)),
                interval_cell(one.shapley),
                interval_cell(one.drop_one),
            )
            for one in contributions
        ),
        caption=(
            f"Shapley value: mean of what a teacher adds to those before it{orders}; the values "
            "of a dataset sum to what all its teachers gain together. Lost without it: all "
            "teachers over all but this one. In points, each with its 95 % Student t interval over "
            f"seeds; no claim is made of them.{''.join(lacking)}"
        ),
    )


def interval_cell(interval: Interval | None) -> Cell:
    """Return a difference in points with its interval."""
    if interval is None:
        return Cell("", (None, None, None, None))
    text = f"{interval.mean:+.2f} {_span(interval)}".rstrip()
    return Cell(text, (interval.mean, interval.low, interval.high, interval.n))


def p_text(p: float | None) -> str:
    """Return a p value as people read it."""
    if p is None:
        return ""
    return "<0.001" if p < 0.001 else f"{p:.3f}"


def _arm_cells(row: ArmRow, mean: Cell) -> tuple[Cell, ...]:
    return (
        Cell(row.arm, (row.arm,)),
        mean,
        _number(row.std),
        Cell(_span(row.mean), (row.mean.low, row.mean.high)),
        *_comparison_cells(row.comparison, is_reference=row.is_reference),
    )


def _comparison_cells(comparison: Comparison | None, *, is_reference: bool) -> tuple[Cell, ...]:
    if comparison is None:
        verdict = "reference" if is_reference else ""
        none: tuple[Number, ...] = (None, None, None)
        return interval_cell(None), Cell("", none), _number(None), Cell(verdict, (verdict,))
    return (
        interval_cell(comparison.difference),
        Cell(p_text(comparison.p_holm), (comparison.p_holm, comparison.p, comparison.floor)),
        _number(comparison.effect),
        Cell(comparison.verdict, (comparison.verdict,)),
    )


def _number(value: float | None) -> Cell:
    return Cell("" if value is None else f"{value:.2f}", (value,))


def _span(interval: Interval) -> str:
    if interval.low is None or interval.high is None:
        return ""
    return f"[{interval.low:.2f}, {interval.high:.2f}]"


def _seeds(rows: Sequence[ArmRow]) -> str:
    counts = sorted({row.mean.n for row in rows})
    return f"{' or '.join(map(str, counts))} seed{'s' if counts[-1] > 1 else ''}"


def _with_sign(p: float) -> str:
    return p_text(p) if p < 0.001 else f"= {p_text(p)}"
