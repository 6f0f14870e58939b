"""What an ablation showed: each arm, and how it compares with the reference arm."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Literal

from mlfd_tune.ablation.statistics import Ranks
from mlfd_tune.core.statistics import Interval

__all__ = ["AblationResult", "ArmRow", "Comparison", "Verdict"]

Verdict = Literal["higher", "lower", "no difference shown", "too few seeds"]
"""What an arm's comparison shows, corrected for its family."""


@dataclass(frozen=True)
class Comparison:
    """An arm against the reference arm, over the seeds both have. Differences in points.

    Attributes:
        difference: Mean paired difference with its interval (Student's t), for itself alone: 95 %,
            or the confidence of the look where seeds were added until all was resolved.
        p: Of the exact sign-flip test, two-sided.
        floor: The smallest p that this many seeds can give.
        p_holm: `p` corrected for the family: all arms compared with the reference on one dataset.
        effect: Hedges' g of the paired differences; None where it is not defined.
        verdict: What is shown. Only "higher" and "lower" are claims.
    """

    difference: Interval
    p: float | None
    floor: float
    p_holm: float | None
    effect: float | None
    verdict: Verdict


@dataclass(frozen=True)
class ArmRow:
    """One arm on one dataset. Accuracies in percent.

    Attributes:
        dataset: The target dataset.
        arm: Name of the arm.
        is_reference: Whether it is the reference arm.
        values: Accuracy by seed.
        mean: Mean with its 95 % interval over seeds (BCa bootstrap).
        std: Sample standard deviation over seeds; None for one seed.
        comparison: With the reference arm; None for itself, or where that has no result.
    """

    dataset: str
    arm: str
    is_reference: bool
    values: Mapping[str, float]
    mean: Interval
    std: float | None
    comparison: Comparison | None

    @property
    def difference(self) -> Interval | None:
        """Paired difference to the reference arm with its interval, in points."""
        return self.comparison.difference if self.comparison else None

    def as_json(self) -> dict[str, Any]:
        """Return the row as JSON types."""
        return asdict(self) | {"difference": asdict(self.difference) if self.difference else None}


@dataclass(frozen=True)
class AblationResult:
    """What one run of an ablation showed.

    Attributes:
        experiment: Name of the experiment.
        run: Id of the run.
        metric: What is compared, `val/acc1` or `test/acc1`.
        rows: Arms per dataset, in the design's order, the reference first.
        ranks: Across datasets, of the arms that all datasets have; None with fewer than three
            arms or two datasets.
        notes: What a reader must know: families, too few seeds, seeds left out.
    """

    experiment: str
    run: str
    metric: str
    rows: tuple[ArmRow, ...]
    ranks: Ranks | None
    notes: tuple[str, ...]

    def as_json(self) -> dict[str, Any]:
        """Return the result as JSON types."""
        ranks = None
        if self.ranks:
            pairs = [[*pair, p] for pair, p in self.ranks.p_pairs.items()]
            ranks = asdict(self.ranks) | {"p_pairs": pairs}
        return {
            "experiment": self.experiment,
            "run": self.run,
            "metric": self.metric,
            "rows": [row.as_json() for row in self.rows],
            "ranks": ranks,
            "notes": list(self.notes),
        }
