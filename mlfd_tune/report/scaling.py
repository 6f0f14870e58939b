"""What more teachers gain and cost: an ablation of `joint_teacher.teachers`, read back.

The experiment compares joint teachers of, say, 2, 4, 8 and 16 datasets' teachers, beside the
baseline `none` on the same seeds. Gains come from MLflow, seconds and bytes from the store.
"""

from __future__ import annotations

import ast
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from mlfd_tune.core.errors import UserError
from mlfd_tune.core.statistics import Interval, paired_interval
from mlfd_tune.core.store import Store
from mlfd_tune.report.costs import Cost, Costs
from mlfd_tune.report.runs import FinishedRun, Trained, finished_run, short_of_results
from mlfd_tune.tracking import vocabulary
from mlfd_tune.tracking.results import TEST, VAL, Result

__all__ = ["CostKind", "PowerLaw", "ScalingRow", "power_laws", "scaling_of", "scaling_rows"]

CostKind = Literal["seconds", "bytes"]

_TEACHERS = "joint_teacher.teachers"
_STAGES = ("dataset", "teacher", "features", "joint_teacher", "targets", "student")


@dataclass(frozen=True)
class ScalingRow:
    """One set of teachers and one target dataset.

    Attributes:
        teachers: Number of teachers that are fused.
        lineup: The datasets of the teachers.
        dataset: The target dataset.
        gain: Accuracy over the baseline's in percentage points, paired by seed; None without one.
        gain_over_own_teacher: Likewise over the control with the dataset's own teacher only.
        gain_metric: What the gains compare: `test/acc1`, or `val/acc1` where no test was read.
        seconds: Seconds of computing by stage, of all that one seed of ALL targets needs with these
            teachers, each artifact counted once. The same in every row of these teachers.
        bytes: Bytes in the store by stage, likewise.
        missing: Artifacts that the store no longer has, so that the costs are too low.
    """

    teachers: int
    lineup: tuple[str, ...]
    dataset: str
    gain: Interval | None
    gain_over_own_teacher: Interval | None
    gain_metric: str | None
    seconds: Mapping[str, float]
    bytes: Mapping[str, int]
    missing: int

    @property
    def undecided(self) -> bool:
        """Whether the gain's interval contains zero, or is not known."""
        gain = self.gain
        return gain is None or gain.low is None or gain.high is None or gain.low <= 0 <= gain.high

    def costs(self, of: CostKind) -> dict[str, float]:
        """Return seconds or bytes by stage in the order they are computed in, and their total."""
        costs: Mapping[str, float] = self.seconds if of == "seconds" else self.bytes
        by_place = {stage: costs[stage] for stage in sorted(costs, key=_place)}
        return {**by_place, "total": sum(costs.values())}


@dataclass(frozen=True)
class PowerLaw:
    """``y = a * n ** b``, fitted by least squares of the logarithms.

    Attributes:
        factor: a, in the unit of y.
        exponent: b with its 95 % interval (Student's t with two degrees of freedom less than there
            are points); without one for two points.
    """

    factor: float
    exponent: Interval


def scaling_rows(
    uri: str, experiment: str, store: Store, run: str | None = None, *, method: str = "mlfd"
) -> list[ScalingRow]:
    """Return what each number of teachers gains and costs.

    Args:
        uri: MLflow tracking URI.
        experiment: An ablation whose factors are `joint_teacher.teachers` and, for the gains,
            `method` with `none` among its values.
        store: The store it computed into.
        run: Id of the run in place of the latest finished one.
        method: The method whose students are judged.

    Returns:
        Rows by number of teachers and then by dataset.

    Raises:
        UserError: No such experiment or run, no run of the method with chosen teachers, or a store
            that has nothing of them.
    """
    return scaling_of(finished_run(uri, experiment, run), experiment, store, method)


def scaling_of(found: FinishedRun, experiment: str, store: Store, method: str) -> list[ScalingRow]:
    """Return the rows of one run; see `scaling_rows`."""
    groups: dict[tuple[str, ...], list[Trained]] = {}
    for one in found.trained:
        lineup = _lineup(one.result)
        if one.result.method == method and lineup:
            groups.setdefault(lineup, []).append(one)
    if not groups:
        raise short_of_results(
            experiment,
            f"no run of {method!r} tells its {_TEACHERS}; scaling is of an ablation over it",
            [one.result.method for one in found.trained],
        )
    results = [one.result for one in found.trained]
    costs = Costs(store)
    rows = [
        row
        for lineup, members in sorted(groups.items(), key=lambda item: (len(item[0]), item[0]))
        for row in _rows(lineup, members, results, costs)
    ]
    if not any(row.seconds for row in rows):
        raise UserError(
            f"--store {store.root}: has no artifact of {experiment} (allowed: the folder that "
            "store.path named in the run)"
        )
    return rows


def power_laws(rows: Iterable[ScalingRow], of: CostKind) -> dict[str, PowerLaw]:
    """Return how the costs of each stage, and their ``total``, grow with the number of teachers.

    A stage that costs nothing at some number, or stands at one number only, is left out.

    Args:
        rows: From `scaling_rows`.
        of: Which cost.
    """
    points: dict[str, list[tuple[int, float]]] = {}
    by_lineup = {row.lineup: row for row in rows}
    for row in by_lineup.values():
        for stage, value in row.costs(of).items():
            points.setdefault(stage, []).append((row.teachers, value))
    return {
        stage: _fitted(found)
        for stage, found in points.items()
        if len({n for n, _ in found}) > 1 and all(value > 0 for _, value in found)
    }


def _place(stage: str) -> tuple[int, str]:
    return (_STAGES.index(stage) if stage in _STAGES else len(_STAGES)), stage


def _fitted(points: Sequence[tuple[int, float]]) -> PowerLaw:
    from scipy import special, stats  # scipy.stats takes half a second to import

    numbers, values = np.log(np.array(points, dtype=np.float64)).T
    fit = stats.linregress(numbers, values)
    slope, n = float(fit.slope), len(points)
    if n < 3:
        return PowerLaw(math.exp(fit.intercept), Interval(slope, None, None, n))
    # The same value everywhere is a perfect fit, for which scipy divides zero by zero.
    error = float(fit.stderr) if math.isfinite(fit.stderr) else 0.0
    half = float(special.stdtrit(n - 2, 0.975)) * error
    return PowerLaw(math.exp(fit.intercept), Interval(slope, slope - half, slope + half, n))


def _lineup(result: Result) -> tuple[str, ...]:
    """Return the datasets whose teachers are fused; none where a run does not say."""
    text = result.params.get(_TEACHERS)
    if text is None:
        return ()
    chosen = ast.literal_eval(text)
    if chosen is None:  # all of them
        parts = result.params.get("lineup", "").split(",")
        chosen = [part.partition(":")[0] for part in parts if part]
    return tuple(sorted(chosen))


def _rows(
    lineup: tuple[str, ...], members: Sequence[Trained], results: Sequence[Result], costs: Costs
) -> list[ScalingRow]:
    cost = _cost_of_one_seed(members, costs)
    rows = []
    for dataset in sorted({one.result.dataset for one in members}):
        own = [one.result for one in members if one.result.dataset == dataset]
        gain, metric = _gain(own, results, vocabulary.NO_METHOD)
        over_own, own_metric = _gain(own, results, vocabulary.OWN_TEACHER)
        rows.append(
            ScalingRow(
                teachers=len(lineup),
                lineup=lineup,
                dataset=dataset,
                gain=gain,
                gain_over_own_teacher=over_own,
                gain_metric=metric or own_metric,
                seconds=cost.seconds,
                bytes=cost.bytes,
                missing=cost.missing,
            )
        )
    return rows


def _cost_of_one_seed(members: Sequence[Trained], costs: Costs) -> Cost:
    """Return what one student of every target needs: more seeds are the comparison's, not the
    method's.
    """
    first: dict[str, Trained] = {}
    for one in sorted(members, key=lambda one: (len(one.result.seed), one.result.seed)):
        first.setdefault(one.result.dataset, one)
    return costs.of(one.tags[vocabulary.ARTIFACT_KEY] for one in first.values())


def _gain(
    own: Sequence[Result], results: Sequence[Result], over: str
) -> tuple[Interval | None, str | None]:
    """Return the paired difference to the method `over`, and the metric compared.

    Neither baseline nor control depends on which other teachers there are, so their runs of all
    arms are one and the same.
    """
    reference = [r for r in results if r.method == over and r.dataset == own[0].dataset]
    for metric in (TEST, VAL):
        paired = paired_interval(_by_seed(own, metric), _by_seed(reference, metric))
        if paired is not None:
            return paired, metric
    return None, None


def _by_seed(results: Iterable[Result], metric: str) -> dict[str, float]:
    values = {result.seed: result.test if metric == TEST else result.val for result in results}
    return {seed: value for seed, value in values.items() if value is not None}
