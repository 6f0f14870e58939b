"""An ablation's result: each arm against the reference arm, paired by seed."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from rich.box import SIMPLE_HEAD
from rich.table import Table

from mlfd_tune.ablation.designs import arms_of
from mlfd_tune.config import AblationConfig
from mlfd_tune.core.statistics import Interval, mean_interval, paired_interval
from mlfd_tune.tracking.results import Result, read_results

__all__ = ["ArmRow", "ablation_tables", "comparison_rows"]


@dataclass(frozen=True)
class ArmRow:
    """One arm on one dataset. Accuracies in percent, differences in percentage points.

    Attributes:
        dataset: The target dataset.
        arm: Name of the arm.
        is_reference: Whether it is the reference arm.
        values: Accuracy by seed.
        mean: Mean with its 95 % interval over seeds (Student's t).
        std: Sample standard deviation over seeds; None for one seed.
        difference: Paired difference to the reference arm with its 95 % interval.
    """

    dataset: str
    arm: str
    is_reference: bool
    values: dict[str, float]
    mean: Interval
    std: float | None
    difference: Interval | None


def comparison_rows(uri: str, experiment: str, config: AblationConfig, run: str) -> list[ArmRow]:
    """Return the arms of one run of an ablation, per dataset in the design's order.

    Args:
        uri: MLflow tracking URI.
        experiment: Name of the experiment.
        config: Its configuration.
        run: Id of the run.
    """
    results = [
        result for result in read_results(uri, experiment, "FINISHED") if result.sweep == run
    ]
    rows = []
    for dataset in config.target_names:
        by_arm = _values(results, dataset, config.metric)
        arms = [arm for arm in arms_of(config.design) if arm.name in by_arm]
        reference = next((by_arm[arm.name] for arm in arms if arm.is_reference), {})
        for arm in arms:
            values = by_arm[arm.name]
            mean = mean_interval(list(values.values()))
            difference = None if arm.is_reference else paired_interval(values, reference)
            rows.append(
                ArmRow(dataset, arm.name, arm.is_reference, values, mean, _std(values), difference)
            )
    return rows


def ablation_tables(rows: Sequence[ArmRow], metric: str) -> list[Table]:
    """Return one table per dataset."""
    tables = []
    for dataset in dict.fromkeys(row.dataset for row in rows):
        of_dataset = [row for row in rows if row.dataset == dataset]
        seeds = max(row.mean.n for row in of_dataset)
        table = Table(
            title=f"{dataset} · {metric}, {seeds} seeds, paired",
            title_justify="left",
            box=SIMPLE_HEAD,
            pad_edge=False,
        )
        table.add_column("arm", overflow="fold")
        for column in ("mean", "std", "95 % interval", "against reference"):
            table.add_column(column, justify="right", no_wrap=True)
        for row in of_dataset:
            table.add_row(*_cells(row))
        tables.append(table)
    return tables


def _cells(row: ArmRow) -> Iterable[str]:
    yield row.arm
    yield f"{row.mean.mean:.2f}"
    yield "" if row.std is None else f"{row.std:.2f}"
    yield _span(row.mean)
    if row.is_reference:
        yield "reference"
    elif row.difference is None:
        yield ""
    else:
        yield f"{row.difference.mean:+.2f} {_span(row.difference)}".rstrip()


def _span(interval: Interval) -> str:
    if interval.low is None or interval.high is None:
        return ""
    return f"[{interval.low:.2f}, {interval.high:.2f}]"


def _values(results: Iterable[Result], dataset: str, metric: str) -> dict[str, dict[str, float]]:
    by_arm: dict[str, dict[str, float]] = {}
    for result in results:
        value = result.test if metric == "test/acc1" else result.val
        if result.kind == "arm" and result.dataset == dataset and value is not None:
            by_arm.setdefault(result.arm or "", {})[result.seed] = value
    return by_arm


def _std(values: dict[str, float]) -> float | None:
    n = len(values)
    if n < 2:
        return None
    mean = sum(values.values()) / n
    return float((sum((value - mean) ** 2 for value in values.values()) / (n - 1)) ** 0.5)
