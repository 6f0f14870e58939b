"""What has to be known to read importances: how many trials, which are missing, what is noise."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from mlfd_tune.tune.importance import NOTHING_EXPLAINED
from mlfd_tune.tune.importance_subsets import Judged
from mlfd_tune.tune.rung_trials import FEWEST, RungTrials, StoredStudy

__all__ = ["FEW", "notes_on"]

FEW: Final = 20
"""With fewer points shares mean little, and are said to."""

_BLIND: Final = ("random", "grid")  # samplers that do not look at results


def notes_on(study: StoredStudy, trials: RungTrials, judged: Judged) -> Iterator[str]:
    """Yield what has to be known of one study's importances, the gravest first."""
    of = trials.dataset
    yield f"{of}: {_looked_at(trials)}"
    if len(trials.points) < FEW:
        yield f"{of}: with fewer than {FEW} points, shares, curves and interactions mean little."
    yield _unseen(of, judged.explained)
    yield from _selection(study, trials)
    yield from _conditional(trials, judged)
    yield (
        "Values are validation accuracies of single trainings, so noise of the training is part of "
        "the variance. Shares compare parameters over the ranges that were searched; they do not "
        "say that one value is better than another, which confirmation and ablations do."
    )


def _looked_at(trials: RungTrials) -> str:
    missing = [
        text
        for number, text in (
            (trials.stopped, f"{trials.stopped} were stopped before it and are left out"),
            (trials.unfinished, f"{trials.unfinished} failed before it or are not that far"),
            (trials.repeated, f"{trials.repeated} tried a point again and do not count twice"),
        )
        if number
    ]
    return (
        "; ".join([f"{len(trials.points)} points with a value at epoch {trials.rung}", *missing])
        + "."
    )


def _conditional(trials: RungTrials, judged: Judged) -> Iterator[str]:
    def listed(names: dict[str, int]) -> str:
        return ", ".join(f"{name} ({number})" for name, number in names.items())

    of, points = trials.dataset, len(trials.points)
    enough = {name: number for name, number in judged.some.items() if number >= FEWEST}
    if enough:
        yield (
            f"{of}: of {points} points some have {listed(enough)}: a parameter is judged among "
            "those that have it, and its share is one of theirs."
        )
    too_few = {name: number for name, number in judged.some.items() if number < FEWEST}
    if too_few:
        yield f"{of}: in too few points to be judged (at least {FEWEST}): {listed(too_few)}."


def _unseen(of: str, explained: float) -> str:
    told = f"{of}: on points left out of its trees, the forest explains"
    if explained < NOTHING_EXPLAINED:
        return (
            f"{told} next to nothing (R² {explained:.2f}). No importance is shown here: shares "
            "this size come from noise alone."
        )
    return f"{told} {explained:.0%} of the variance. Shares are of what the forest sees."


def _selection(study: StoredStudy, trials: RungTrials) -> Iterator[str]:
    of = trials.dataset
    if trials.last is not None and trials.rung < trials.last:
        yield (
            f"Values at epoch {trials.rung} of {trials.last} say what matters for a good start, "
            "and not what matters in the end."
        )
    if trials.stopped:
        yield (
            f"{of}: the trials that got to epoch {trials.rung} are a selected set, the better ones "
            "at earlier epochs. What the poor ones have in common cannot show any more, so "
            "importances are biased. An earlier epoch has more trials (--rung)."
        )
    settings = study.plan.get("settings", {})
    sampler, blind = settings.get("sampler"), settings.get("startup_trials", 0)
    if sampler is not None and sampler not in _BLIND and len(study.trials) > blind:
        yield (
            f"The sampler {sampler} tries points near good ones after the first {blind} of a "
            "study: away from them little is known."
        )
