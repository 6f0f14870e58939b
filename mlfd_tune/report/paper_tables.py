"""Tables 2 to 4 of the MLFD paper in their own layout, of a finished run.

Rows and columns are as printed. Accuracies have the interval over seeds that the paper does not
give. The figures printed in the paper stand beside, where datasets and architectures are the same;
of other datasets they would say nothing. A row that the paper lacks is the own-teacher control.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Final

from mlfd_tune.ablation.arm_rows import AblationResult
from mlfd_tune.ablation.statistics import bca_interval
from mlfd_tune.ablation.table_model import Cell, Column, ResultTable
from mlfd_tune.config import AblationConfig
from mlfd_tune.core.errors import UserError
from mlfd_tune.core.statistics import Interval
from mlfd_tune.report.published import PublishedRow, PublishedTable, published_tables
from mlfd_tune.report.top5 import BySeed

__all__ = ["paper_tables"]

_NAME: Final = re.compile(r"(?:^|_)(table[234])(?:_|$)")
_NONE: Final = "–"


def paper_tables(
    result: AblationResult, config: AblationConfig, top5: BySeed | None = None
) -> list[ResultTable]:
    """Return a table of the paper: one of acc@1 and, with `top5`, one of acc@5.

    They are two tables and not pairs of columns as in print, since intervals take the room.

    Args:
        result: Of a run of `table2`, `table3` or `table4_fusion_depth`, or of a small twin; the
            experiment's name says which.
        config: What was run.
        top5: From `mlfd_tune.report.top5.read_top5`.

    Raises:
        UserError: The experiment is none of them, or has none of their arms.
    """
    name = _table_name(result.experiment)
    table = published_tables()[name]
    acc1 = {(row.dataset, row.arm): row.values for row in result.rows}
    if not any(row.arm == arm for row in table.rows for _, arm in acc1):
        raise UserError(
            f"--layout: {result.experiment} has none of the arms of {_printed(name)} "
            f"(they are {', '.join(row.arm for row in table.rows)})"
        )
    datasets = _datasets(table, config, list(dict.fromkeys(row.dataset for row in result.rows)))
    tables = [_table(result, name, datasets, "acc1", acc1)]
    if top5:  # of the seeds that are compared, and no others
        acc5 = {
            key: {seed: top5[key][seed] for seed in values if seed in top5[key]}
            for key, values in acc1.items()
            if key in top5
        }
        tables.append(_table(result, name, datasets, "acc5", acc5))
    return tables


@dataclass(frozen=True)
class _Dataset:
    """A dataset of the run: its name here, its heading, and its source where that is printed."""

    name: str
    heading: str
    published: str | None


def _table_name(experiment: str) -> str:
    match = _NAME.search(experiment)
    if match is None:
        raise UserError(
            f"--layout: {experiment} is no table of the paper (allowed: experiments named table2, "
            "table3 or table4, such as table4_fusion_depth and small_table2)"
        )
    return match[1]


def _printed(name: str) -> str:
    return f"Table {name.removeprefix('table')}"


def _datasets(
    table: PublishedTable, config: AblationConfig, names: Sequence[str]
) -> list[_Dataset]:
    """Return the run's datasets, those of the paper first and in its order."""
    found = []
    for name in names:
        source = config.datasets[name].source
        printed = table.sources.get(source)
        arch = config.student_arch(name).partition(".")[0]  # without timm's tag of weights
        same = printed is not None and arch == printed.arch
        found.append(_Dataset(name, printed.name if printed else name, source if same else None))
    order = [printed.name for printed in table.sources.values()]
    return sorted(found, key=lambda d: order.index(d.heading) if d.heading in order else len(order))


def _table(
    result: AblationResult, name: str, datasets: Sequence[_Dataset], which: str, values: BySeed
) -> ResultTable:
    table, metric = published_tables()[name], result.metric
    columns = [
        Column("Model", ("model",), is_number=False),
        Column(table.levels, ("levels",), is_number=False),
        *(column for dataset in datasets for column in _columns(dataset, which)),
    ]
    rows = [
        [Cell(row.model, (row.model,)), Cell(row.levels, (row.levels,))]
        + [cell for dataset in datasets for cell in _cells(row, dataset, which, values)]
        for row in table.rows
    ]
    for place in range(2, len(columns)):
        groups = [row.group for row in table.rows]
        column = [cells[place] for cells in rows]
        for cells, cell in zip(rows, _best(list(zip(groups, column, strict=True))), strict=True):
            cells[place] = cell
    at = f"acc@{which[-1]}"
    return ResultTable(
        title=(
            f"{result.experiment} as {_printed(name)} of the MLFD paper · {at} in %, "
            f"{metric.partition('/')[0]}"
        ),
        columns=tuple(columns),
        rows=tuple(map(tuple, rows)),
        caption=_caption(table, datasets, values),
        keys={"table": name, "metric": metric.replace("acc1", which)},
    )


def _columns(dataset: _Dataset, which: str) -> Iterator[Column]:
    field = f"{dataset.name}_{which}"
    fields = (field, f"{field}_low", f"{field}_high", f"{field}_seeds")
    yield Column(f"{dataset.heading} acc@{which[-1]}", fields)
    if dataset.published:
        yield Column("paper", (f"{field}_published",))


def _cells(row: PublishedRow, dataset: _Dataset, which: str, values: BySeed) -> Iterator[Cell]:
    own = list(values.get((dataset.name, row.arm), {}).values())
    if own:
        interval = bca_interval(own)
        numbers = (interval.mean, interval.low, interval.high, interval.n)
        yield Cell(_text(interval), numbers)
    else:
        yield Cell(_NONE, (None, None, None, None))
    if dataset.published:
        printed = row.published.get(dataset.published)
        number = None if printed is None else printed[which == "acc5"]
        yield Cell(_NONE if number is None else f"{number:.2f}", (number,))


def _text(interval: Interval) -> str:
    if interval.low is None or interval.high is None:
        return f"{interval.mean:.2f}"
    # Without a space inside, so that a narrow column breaks it before the bracket.
    return f"{interval.mean:.2f} [{interval.low:.2f},{interval.high:.2f}]"


def _best(column: Sequence[tuple[str | None, Cell]]) -> list[Cell]:
    """Mark the best cell of each group, as in print; where all are equal there is none."""
    groups: dict[str, list[float]] = {}
    for group, cell in column:
        if group is not None and isinstance(cell.values[0], float):
            groups.setdefault(group, []).append(round(cell.values[0], 2))
    highest = {group: max(means) for group, means in groups.items() if min(means) < max(means)}
    return [
        replace(cell, mark="best")
        if group in highest
        and isinstance(cell.values[0], float)
        and round(cell.values[0], 2) == highest[group]
        else cell
        for group, cell in column
    ]


def _caption(table: PublishedTable, datasets: Sequence[_Dataset], values: BySeed) -> str:
    seeds = sorted({len(of_arm) for of_arm in values.values()})
    counted = f"{seeds[0]}" if len(seeds) == 1 else f"{seeds[0]} to {seeds[-1]}"
    text = (
        f"Mean over {counted} seed{'s' if seeds[-1] > 1 else ''} with its 95 % BCa interval. Bold: "
        "highest of the students and of the joint teachers; it is no claim."
    )
    if any(row.arm == "own teacher L2" for row in table.rows):
        text += " The own-teacher control is not in the paper."
    beside = [dataset.heading for dataset in datasets if dataset.published]
    if beside:
        text += (
            f" Paper: its {table.caption}, one run, no spread; the official code picks the best "
            "epoch on test data. Here the last epoch counts, and training images are held out for "
            "validation."
        )
    without = [dataset.heading for dataset in datasets if not dataset.published]
    if without:
        text += (
            f" No published figures beside {', '.join(without)}: datasets or architectures are not "
            "the paper's."
        )
    return text
