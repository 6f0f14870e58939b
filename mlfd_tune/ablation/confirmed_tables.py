"""The table of a sweep: what it found, confirmed on fresh seeds, beside baseline and control."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from mlfd_tune.ablation.table_model import Cell, Column, ResultTable, marked
from mlfd_tune.ablation.tables import interval_cell
from mlfd_tune.core.statistics import Interval
from mlfd_tune.tracking import Row

__all__ = ["confirmed_tables"]

_COLUMNS = (
    Column("method", ("method",), is_number=False),
    Column("config", ("config", "baseline_of"), is_number=False),
    Column("seeds", ("n_seeds",)),
    Column("val", ("val", "val_low", "val_high")),
    Column("test", ("test", "test_low", "test_high")),
    Column("over none", ("gain", "gain_low", "gain_high", "gain_pairs")),
    Column("over own_teacher", ("over_own", "over_own_low", "over_own_high", "over_own_pairs")),
)


def confirmed_tables(rows: Iterable[Row]) -> list[ResultTable]:
    """Return one table per dataset of the rows that were confirmed.

    Trials of the search are left out: the best of many is no measurement.

    Args:
        rows: A leaderboard's rows, of one run.
    """
    by_dataset: dict[str, list[Row]] = {}
    for row in rows:
        if row.status == "confirmed":
            by_dataset.setdefault(row.dataset, []).append(row)
    return [_table(dataset, of_dataset) for dataset, of_dataset in by_dataset.items()]


def _table(dataset: str, rows: Sequence[Row]) -> ResultTable:
    tests = marked([_accuracy(row.test) for row in rows])
    return ResultTable(
        title=f"{dataset} · confirmed on fresh seeds",
        columns=_COLUMNS,
        rows=tuple(_cells(row, test) for row, test in zip(rows, tests, strict=True)),
        caption=(
            "Accuracy in %: mean over seeds that the search never saw, with its 95 % Student t "
            "interval. Gains in points over the same student without distillation (none) and over "
            "distillation from the dataset's own teacher alone (own_teacher), paired by seed. A "
            "baseline or control bears the config that it is compared with. Bold: highest test "
            f"accuracy on {dataset}, underlined: second highest; neither is a claim. Intervals are "
            "not corrected for their number."
        ),
        keys={"dataset": dataset},
    )


def _cells(row: Row, test: Cell) -> tuple[Cell, ...]:
    serves = row.baseline_of or (row.config,)
    return (
        Cell(row.method, (row.method,)),
        Cell(",".join(config[:8] for config in serves), (row.config, " ".join(row.baseline_of))),
        Cell(str(row.n_seeds), (row.n_seeds,)),
        _accuracy(row.val),
        test,
        interval_cell(row.gain),
        interval_cell(row.gain_over_own_teacher),
    )


def _accuracy(interval: Interval | None) -> Cell:
    """Return a mean and half its interval, which lies evenly around it."""
    if interval is None:
        return Cell("", (None, None, None))
    half = "" if interval.high is None else f" ± {interval.high - interval.mean:.2f}"
    return Cell(f"{interval.mean:.2f}{half}", (interval.mean, interval.low, interval.high))
