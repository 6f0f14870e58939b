"""Adding seeds until the differences between arms are known closely enough.

Looking again and again and stopping at a look that pleases makes false claims of noise. Two things
keep that out. Whether to go on depends on how wide the intervals are, never on where they lie: not
on a sign, and not on a p. And the intervals of each look have a higher confidence than 95 %, so
that all looks together err in at most 5 % of all runs: whichever look is the last, its interval
covers what it should at least 95 % of the time.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from mlfd_tune.ablation.statistics import look_confidences
from mlfd_tune.config import AblationConfig
from mlfd_tune.core.stages import EvaluationStage
from mlfd_tune.core.statistics import paired_interval
from mlfd_tune.tune import PlannedTrial
from mlfd_tune.tune.trial import TrialContext, student_of

__all__ = ["Look", "Width", "looks_of", "schedule", "told", "value_of", "widths_at"]

Values = Mapping[str, Mapping[int, float]]
"""Accuracy in percent by seed, by the arm's name."""


@dataclass(frozen=True)
class Look:
    """One look at the results.

    Attributes:
        seeds: Seeds that every arm has by then.
        confidence: Of its intervals.
    """

    seeds: int
    confidence: float


@dataclass(frozen=True)
class Width:
    """How well one arm's difference to the reference is known at a look.

    Attributes:
        dataset: The target dataset.
        arm: Name of the arm.
        points: Full width of the interval; None where there are fewer than two pairs.
        pairs: Seeds that both have a result for.
    """

    dataset: str
    arm: str
    points: float | None
    pairs: int

    def __str__(self) -> str:
        return f"arm {self.arm} on {self.dataset}"

    def within(self, width: float) -> bool:
        """Tell whether the interval is as narrow as it has to be."""
        return self.points is not None and self.points <= width


def looks_of(config: AblationConfig) -> list[Look]:
    """Return when an ablation looks at its results, known before it starts.

    After `seeds` seeds, then after each batch of `resolve.batch` more, and a last time with
    `resolve.max_seeds`.
    """
    resolve = config.resolve
    assert resolve is not None
    counts = [*range(config.seeds, resolve.max_seeds, resolve.batch), resolve.max_seeds]
    return [
        Look(seeds, confidence)
        for seeds, confidence in zip(counts, look_confidences(len(counts)), strict=True)
    ]


def schedule(config: AblationConfig) -> str:
    """Return one line on when an ablation looks at its results."""
    resolve, looks = config.resolve, looks_of(config)
    assert resolve is not None
    shown = [look.seeds for look in looks]
    listed = ", ".join(map(str, shown if len(shown) <= 4 else [*shown[:3], "...", shown[-1]]))
    confidence = min(look.confidence for look in looks)
    return (
        f"seeds are added until no interval is wider than {resolve.width:g} points: looks at "
        f"{listed} seeds, each at a confidence of {confidence:.2%} or more, 95 % over all"
    )


def widths_at(look: Look, dataset: str, values: Values, reference: str) -> list[Width]:
    """Return how wide the interval of every arm's difference to the reference is.

    Args:
        look: The look.
        dataset: The target dataset.
        values: Of every arm, the reference among them.
        reference: Name of the reference arm.
    """
    widths = []
    for arm, of_arm in values.items():
        if arm == reference:
            continue
        interval = paired_interval(of_arm, values[reference], look.confidence)
        points = None
        if interval is not None and interval.low is not None and interval.high is not None:
            points = interval.high - interval.low
        widths.append(Width(dataset, arm, points, interval.n if interval else 0))
    return widths


def value_of(context: TrialContext, trial: PlannedTrial) -> float | None:
    """Return the accuracy in percent that a trial ended with, as the store has it.

    That of its last epoch on validation, or on test where the trial was to read it; None where it
    has not come to its end.
    """
    student = student_of(context, trial.request)
    artifact = context.store.get(student)
    if artifact is None or not trial.request.test:
        return None if artifact is None else artifact.manifest.history[-1]["val/acc1"]
    reading = context.store.get(EvaluationStage(student.reader(), student.data))
    return None if reading is None else reading.manifest.metrics["test/acc1"]


def told(look: Look, widths: Sequence[Width], width: float, is_last: bool) -> Iterator[str]:
    """Yield the line about a look, and of a last one that does not suffice, which arms lack what.

    Args:
        look: The look.
        widths: Of every comparison.
        width: The largest acceptable width.
        is_last: Whether the budget is spent.
    """
    open_ones = [one for one in widths if not one.within(width)]
    widest = max(widths, key=lambda one: float("inf") if one.points is None else one.points)
    found = (
        f"no interval yet, from two pairs on ({widest} has {widest.pairs})"
        if widest.points is None
        else f"widest difference interval {widest.points:.2f} points ({widest})"
    )
    if not open_ones:
        yield f"{look.seeds} seeds: {found}, resolved"
    elif not is_last:
        yield f"{look.seeds} seeds: {found}, goes on"
    else:
        names = ", ".join(map(str, open_ones))
        yield f"budget of {look.seeds} seeds spent, not resolved: {names}; {found}"
