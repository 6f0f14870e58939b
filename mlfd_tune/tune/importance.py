"""Which hyperparameters mattered in a sweep: shares of variance, marginal curves, interactions.

All values are of one epoch (see `mlfd_tune.tune.rung_trials`). A parameter that exists in only some
of the trials is judged among those; shares can be compared with each other within one `Importance`
and not across them. What the numbers do not carry is said in the report's notes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from mlfd_tune.core.errors import UserError

__all__ = [
    "NOTHING_EXPLAINED",
    "Importance",
    "ImportanceReport",
    "Interaction",
    "Marginal",
    "importance_of",
]

NOTHING_EXPLAINED: Final = 0.1
"""An R² on unseen points below which a forest has found nothing to speak of."""


@dataclass(frozen=True)
class Importance:
    """What one evaluator says of the parameters that exist in the same trials.

    Attributes:
        dataset: The study's dataset.
        evaluator: ``fanova``: the share of the variance of a random forest's predictions, over the
            whole space, that is owed to the parameter alone (Hutter et al. 2014); what is missing
            to 1 is owed to parameters together. ``ped_anova``: how differently the parameter is
            distributed among the best trials and among all, as a share of the sum over parameters
            (Watanabe et al. 2023).
        rung: The epoch whose values were looked at.
        trials: How many points were looked at.
        values: Share by parameter, 0 to 1, the largest first.
    """

    dataset: str
    evaluator: str
    rung: int
    trials: int
    values: Mapping[str, float]


@dataclass(frozen=True)
class Marginal:
    """What a random forest predicts along one parameter, on average over all others.

    Attributes:
        dataset: The study's dataset.
        parameter: Its dotted key.
        grid: Values of the parameter, evenly spread in its own scale; all choices that were tried.
        mean: Mean prediction at each, in percent.
        low: 10th percentile over the forest's trees.
        high: 90th percentile. The band is how far trees differ that saw other draws of the same
            trials; it is not a confidence interval of the true curve.
    """

    dataset: str
    parameter: str
    grid: tuple[Any, ...]
    mean: tuple[float, ...]
    low: tuple[float, ...]
    high: tuple[float, ...]


@dataclass(frozen=True)
class Interaction:
    """How much of what two parameters do together is more than the sum of what each does.

    Attributes:
        dataset: The study's dataset.
        first: Dotted key of the one.
        second: Dotted key of the other.
        strength: Friedman's H (Friedman and Popescu 2008, Eq. 44), 0 to 1; 0 also where the two
            together move the forest's predictions too little for a ratio to mean anything.
    """

    dataset: str
    first: str
    second: str
    strength: float


@dataclass(frozen=True)
class ImportanceReport:
    """What mattered in a sweep.

    Attributes:
        importances: For each dataset and evaluator one of the parameters that exist in all points,
            and one more for each set of points in which further parameters exist.
        marginals: For every parameter that varies.
        interactions: For every pair of them, the strongest of a dataset first.
        notes: What has to be known to read all this, one sentence or a few each.
        explained: By dataset, R² of the forest on points left out of its trees. Below
            `NOTHING_EXPLAINED` no importance is shown: noise alone gives such shares.
    """

    importances: tuple[Importance, ...]
    marginals: tuple[Marginal, ...]
    interactions: tuple[Interaction, ...]
    notes: tuple[str, ...]
    explained: Mapping[str, float] = field(default_factory=dict)


def importance_of(
    studies_db: Path, *, rung: int | None = None, dataset: str | None = None
) -> ImportanceReport:
    """Return which hyperparameters mattered in a sweep.

    Args:
        studies_db: The file of its studies, in its run's folder; a sweep may be writing to it.
        rung: Only values at this epoch are looked at, also of trials that were stopped later; None
            for the last one, which only trials reach that ran to the end.
        dataset: Only this dataset's study. Of several, those with too few trials are left out and
            a note says so.

    Raises:
        UserError: The file cannot be read, there is no such dataset, the trials' values are of
            different epochs, or too few trials have one at the rung.
    """
    from mlfd_tune.tune.importance_notes import notes_on
    from mlfd_tune.tune.importance_subsets import Judged, judge
    from mlfd_tune.tune.rung_trials import read_studies, study_of, trials_at

    studies = read_studies(studies_db)
    chosen = studies if dataset is None else [study_of(studies, dataset)]
    judged: list[Judged] = []
    problems: list[str] = []
    notes: list[str] = []
    explained: dict[str, float] = {}
    for study in chosen:
        try:
            at = trials_at(study, rung)
        except UserError as error:
            problems += error.problems
            continue
        judged.append(judge(at))
        explained[study.dataset] = judged[-1].explained
        notes += notes_on(study, at, judged[-1])
    if not judged:
        raise UserError(*problems)
    return ImportanceReport(
        importances=tuple(one for j in judged for one in j.importances),
        marginals=tuple(one for j in judged for one in j.marginals),
        interactions=tuple(one for j in judged for one in j.interactions),
        notes=(*_left_out(problems), *_together(notes)),
        explained=explained,
    )


def _left_out(problems: Sequence[str]) -> list[str]:
    return [f"Left out: {problem}." for problem in problems]


def _together(notes: Sequence[str]) -> list[str]:
    """Say once what holds for several datasets."""
    return list(dict.fromkeys(notes))
