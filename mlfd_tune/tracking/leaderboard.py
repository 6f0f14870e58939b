"""The leaderboard: configurations with their seeds folded, and gains paired by seed.

It reads MLflow and nothing else. Rows are ordered by validation accuracy and never by test
accuracy: search and selection see validation only.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

from mlfd_tune.core.errors import UserError, allowed_values
from mlfd_tune.core.statistics import Interval, mean_interval, paired_interval
from mlfd_tune.tracking import vocabulary
from mlfd_tune.tracking.folding import in_one_place
from mlfd_tune.tracking.results import TEST, VAL, Result, read_results

__all__ = ["STATUSES", "Row", "leaderboard"]

STATUSES: Final = ("confirmed", "ablation", "provisional", "pruned", "failed")
"""In the order of rows.

``confirmed``: retrained after the search on two or more fresh seeds. ``ablation``: an arm of a
designed comparison. ``provisional``: one trial of the search, validation only, and the best of
many, so too good on average. ``pruned`` and ``failed`` are shown only when asked for.
"""

_RUN_STATUS = {"pruned": "KILLED", "failed": "FAILED"}

_Group = list[Result]


@dataclass(frozen=True)
class Row:
    """One configuration on one dataset. Accuracies are in percent, gains in percentage points.

    Attributes:
        experiment: Name of the MLflow experiment; of a folded row all of them, by name.
        sweep: Id of the parent run; empty for a folded row.
        dataset: Target dataset.
        method: How the student learned; ``none`` and ``own_teacher`` are baseline and control.
        status: One of `STATUSES`.
        config: Short hash of the configuration without its seed.
        baseline_of: The configurations this row is the baseline or control of.
        arm: Name of the ablation's arm, if any.
        n_seeds: Number of seeds.
        val: Validation accuracy over the seeds.
        test: Test accuracy over the seeds that have one; None during the search.
        gain: Paired difference to the baseline of this configuration over shared seeds.
        gain_over_own_teacher: Likewise to the control with the dataset's own teacher only.
        gain_metric: What `gain` (or else `gain_over_own_teacher`) compares: `test/acc1`, or
            `val/acc1` where there is no test accuracy.
        run_ids: MLflow runs, in the order of the seeds.
        params: Settings in which the configurations of this sweep and dataset differ.
        settings: All settings of the first seed.
        reason: Why the first seed was stopped or failed; None for what ran to the end.
    """

    experiment: str
    sweep: str
    dataset: str
    method: str
    status: str
    config: str
    baseline_of: tuple[str, ...]
    arm: str | None
    n_seeds: int
    val: Interval | None
    test: Interval | None
    gain: Interval | None
    gain_over_own_teacher: Interval | None
    gain_metric: str | None
    run_ids: tuple[str, ...]
    params: Mapping[str, str]
    settings: Mapping[str, str]
    reason: str | None = None

    @property
    def run_id(self) -> str:
        """The run of the first seed."""
        return self.run_ids[0]

    def as_json(self) -> dict[str, Any]:
        """Return the row as JSON types."""
        return {
            "dataset": self.dataset,
            "method": self.method,
            "status": self.status,
            "n_seeds": self.n_seeds,
            **_ends(VAL, self.val),
            **_ends(TEST, self.test),
            **_ends("gain", self.gain),
            **_ends("gain_over_own_teacher", self.gain_over_own_teacher),
            "gain_metric": self.gain_metric,
            "run_id": self.run_id,
            "run_ids": list(self.run_ids),
            "experiment": self.experiment,
            "sweep": self.sweep,
            "config": self.config,
            "baseline_of": list(self.baseline_of),
            "arm": self.arm,
            "params": dict(self.params),
            "reason": self.reason,
        }


def leaderboard(
    uri: str,
    experiment: str | None = None,
    *,
    dataset: str | None = None,
    method: str | None = None,
    status: str | None = None,
    all_runs: bool = False,
    fold: bool = False,
) -> list[Row]:
    """Return the rows of one experiment, or of all.

    Per dataset: confirmed rows, ablation arms, provisional rows, each by falling validation
    accuracy. A configuration that was retrained for confirmation hides its own trial.

    Args:
        uri: MLflow tracking URI.
        experiment: Name of the experiment, or None for all.
        dataset: Only this dataset.
        method: Only this method.
        status: Only this one of `STATUSES`.
        all_runs: Every run of an experiment, not only its latest.
        fold: Make one row of a configuration that several experiments, or several runs of one, have
            trained on the same data (`folding`). The row's experiment names all of them.

    Raises:
        UserError: For an unusable URI or a name that no run has, with what exists.
    """
    if status is not None and status not in STATUSES:
        raise UserError(f"status: unknown {status!r} {allowed_values(status, STATUSES)}")
    run_status = _RUN_STATUS.get(status or "", "FINISHED")
    results = read_results(uri, experiment, run_status, dataset, all_runs=all_runs)
    experiments = {result.run_id: result.experiment for result in results}
    if fold:
        results = in_one_place(uri, results)
    methods = {result.method for result in results}
    if method is not None and methods and method not in methods:
        raise UserError(f"method: no run of {method!r} {allowed_values(method, methods)}")

    groups = _fold_seeds(results)
    retrained = {_configuration(group[0]) for group in groups if group[0].kind == "confirm"}
    shown = [
        group
        for group in groups
        if group[0].kind != "trial" or _configuration(group[0]) not in retrained
    ]
    references = _references(groups)
    differing = _differing_params(groups)
    rows = [_row(group, run_status, references, differing) for group in shown]
    if fold:
        rows = [_named(row, experiments) for row in rows]
    wanted = [row for row in rows if method in (None, row.method) and status in (None, row.status)]
    return sorted(wanted, key=_order)


_Key = tuple[str, ...]


def _place(result: Result) -> _Key:
    """What two runs must share to be compared at all."""
    return result.experiment, result.sweep, result.dataset


def _configuration(result: Result) -> _Key:
    # A baseline that several configurations have in common is one row for each of them.
    return (*_place(result), result.method, result.config, *result.baseline_of)


def _fold_seeds(results: Iterable[Result]) -> list[_Group]:
    """Group the runs of one configuration and kind, one run per seed: the latest."""
    groups: dict[tuple[str, _Key], dict[str, Result]] = {}
    for result in sorted(results, key=lambda result: result.started):
        groups.setdefault((result.kind, _configuration(result)), {})[result.seed] = result
    return [
        [by_seed[seed] for seed in sorted(by_seed, key=lambda seed: (len(seed), seed))]
        for by_seed in groups.values()
    ]


def _references(groups: Iterable[_Group]) -> dict[_Key, dict[str, Result]]:
    """Return baselines and controls by place, kind, method and the configuration they serve."""
    references: dict[_Key, dict[str, Result]] = {}
    for group in groups:
        first = group[0]
        if first.method in (vocabulary.NO_METHOD, vocabulary.OWN_TEACHER):
            by_seed = {result.seed: result for result in group}
            for config in first.baseline_of:
                key = (*_place(first), first.kind, first.method, config)
                references.setdefault(key, {}).update(by_seed)
    return references


def _differing_params(groups: Iterable[_Group]) -> dict[_Key, set[str]]:
    """Return, by place, the names of params in which its configurations differ.

    What changes with the seed inside one configuration is no difference between configurations.
    """
    by_place: dict[_Key, list[_Group]] = {}
    for group in groups:
        by_place.setdefault(_place(group[0]), []).append(group)
    differing = {}
    for place, its_groups in by_place.items():
        between = _names_that_vary([run for group in its_groups for run in group])
        inside = (_names_that_vary(group) for group in its_groups if len(group) > 1)
        differing[place] = between.difference(*inside)
    return differing


def _names_that_vary(runs: Sequence[Result]) -> set[str]:
    """Return the names of params that not all runs have with one value."""
    first = runs[0].params.items()
    varied: set[tuple[str, str]] = set()
    for run in runs:
        varied |= first ^ run.params.items()
    return {name for name, _ in varied}


def _row(
    group: _Group,
    run_status: str,
    references: Mapping[_Key, Mapping[str, Result]],
    differing: Mapping[_Key, set[str]],
) -> Row:
    first = group[0]
    gain, metric = _gain(group, vocabulary.NO_METHOD, references)
    over_own, own_metric = _gain(group, vocabulary.OWN_TEACHER, references)
    names = sorted(differing[_place(first)] & set(first.params))
    return Row(
        experiment=first.experiment,
        sweep=first.sweep,
        dataset=first.dataset,
        method=first.method,
        status=_status(group, run_status),
        config=first.config,
        baseline_of=first.baseline_of,
        arm=first.arm,
        n_seeds=len(group),
        val=_interval([result.val for result in group]),
        test=_interval([result.test for result in group]),
        gain=gain,
        gain_over_own_teacher=over_own,
        gain_metric=metric or own_metric,
        run_ids=tuple(result.run_id for result in group),
        params={name: first.params[name] for name in names},
        settings=first.params,
        reason=first.reason if run_status in _RUN_STATUS.values() else None,
    )


def _named(row: Row, experiments: Mapping[str, str]) -> Row:
    """Return a folded row with the names of the experiments that its runs are of."""
    names = sorted({experiments[run_id] for run_id in row.run_ids})
    return replace(row, experiment=", ".join(names), sweep="")


def _status(group: _Group, run_status: str) -> str:
    stopped = {mlflow: status for status, mlflow in _RUN_STATUS.items()}
    if run_status in stopped:
        return stopped[run_status]
    kind = group[0].kind
    if kind == "arm":
        return "ablation"
    return "confirmed" if kind == "confirm" and len(group) >= 2 else "provisional"


def _gain(
    group: _Group, over: str, references: Mapping[_Key, Mapping[str, Result]]
) -> tuple[Interval | None, str | None]:
    """Return the paired difference to the reference of method `over`, and the metric compared."""
    first = group[0]
    if first.method in (vocabulary.NO_METHOD, over):
        return None, None
    # The control is itself compared with the baseline of the configuration it serves.
    configs = first.baseline_of or (first.config,)
    keys = [(*_place(first), first.kind, over, config) for config in configs]
    reference = next((references[key] for key in keys if key in references), None)
    if reference is None:
        return None, None
    for metric in (TEST, VAL):
        paired = paired_interval(_by_seed(group, metric), _by_seed(reference.values(), metric))
        if paired is not None:
            return paired, metric
    return None, None


def _by_seed(results: Iterable[Result], metric: str) -> dict[str, float]:
    values = {result.seed: result.test if metric == TEST else result.val for result in results}
    return {seed: value for seed, value in values.items() if value is not None}


def _interval(values: Sequence[float | None]) -> Interval | None:
    known = [value for value in values if value is not None]
    return mean_interval(known) if known else None


def _ends(name: str, interval: Interval | None) -> dict[str, float | None]:
    return {
        name: interval.mean if interval else None,
        f"{name}_low": interval.low if interval else None,
        f"{name}_high": interval.high if interval else None,
    }


def _order(row: Row) -> tuple[object, ...]:
    val = row.val.mean if row.val else float("-inf")
    return row.dataset, STATUSES.index(row.status), -val, row.experiment, row.method, row.config
