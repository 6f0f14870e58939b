"""The best confirmed configuration of each dataset, against its baseline and its control."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from mlfd_tune.ablation.comparison import Comparison, compare
from mlfd_tune.core.methods import METHODS
from mlfd_tune.report.page.recorded import TrainingRun
from mlfd_tune.tracking import vocabulary
from mlfd_tune.tracking.leaderboard import Row

__all__ = ["Confirmed", "best_confirmed"]


@dataclass(frozen=True)
class Confirmed:
    """A configuration that was retrained on fresh seeds.

    Attributes:
        row: Its row of the leaderboard.
        over_baseline: Against the same student without distillation; None where there is none.
        over_control: Against distillation from the dataset's own teacher only; None likewise.
    """

    row: Row
    over_baseline: Comparison | None
    over_control: Comparison | None


def best_confirmed(
    datasets: Iterable[str], rows: Sequence[Row], trainings: Sequence[TrainingRun]
) -> list[Confirmed]:
    """Return the confirmed configuration of each dataset that is best on validation.

    Never chosen by test accuracy. Baselines, controls and teachers are what it is compared with,
    not candidates.

    Args:
        datasets: In this order.
        rows: The run's rows of the leaderboard.
        trainings: The trainings they are of.
    """
    found = []
    for dataset in datasets:
        own = [row for row in rows if row.dataset == dataset]
        candidates = [
            row
            for row in own
            if row.status == "confirmed" and row.val is not None and _is_method(row.method)
        ]
        if candidates:
            best = max(candidates, key=lambda row: row.val.mean if row.val else 0.0)
            over = (vocabulary.NO_METHOD, vocabulary.OWN_TEACHER)
            found.append(Confirmed(best, *(_against(best, own, name, trainings) for name in over)))
    return found


def _is_method(name: str) -> bool:
    known = METHODS.get(name)
    return known is None or known.role == "method"


def _against(
    row: Row, rows: Iterable[Row], method: str, trainings: Sequence[TrainingRun]
) -> Comparison | None:
    reference = next(
        (
            other
            for other in rows
            if other.method == method
            and other.status == row.status
            and row.config in other.baseline_of
        ),
        None,
    )
    if reference is None:
        return None
    ours, theirs = _by_seed(row, trainings), _by_seed(reference, trainings)
    return compare({"best": ours}, theirs)["best"] if ours.keys() & theirs.keys() else None


def _by_seed(row: Row, trainings: Sequence[TrainingRun]) -> dict[str, float]:
    """Return test accuracy by seed."""
    ids = set(row.run_ids)
    return {
        one.tags[vocabulary.SEED]: one.test
        for one in trainings
        if one.run_id in ids and one.test is not None and vocabulary.SEED in one.tags
    }
