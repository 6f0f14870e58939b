"""What an exported file says of its accuracies, and whether a repetition bears it out.

The figures stand flat in `Provenance.expected`: ``val/acc1`` of the exported seed, ``val/acc1 seed
4`` of every seed, and ``val/acc1 mean``, ``low`` and ``high`` as the leaderboard states them.

The rule for a repetition. Where nothing that is recorded differs (versions, no GPU, the student's
identity), every seed must have its accuracy again exactly. Where something differs, other rounding
makes another draw of a training with the same settings: then the mean of the m seeds trained again
must lie in the prediction interval for a mean of m, made from the n recorded seeds,
``mean ± t(0.975, n - 1) · s · sqrt(1 / m + 1 / n)``. Nineteen of twenty faithful repetitions do.
The interval that the leaderboard states is narrower: it is one of the mean over all seeds that
there could be, and a single seed would often lie outside. With one recorded seed there is no
spread to judge by, so only the same accuracy counts.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean, stdev
from typing import Any

from scipy import special

from mlfd_tune.config import Provenance
from mlfd_tune.core.statistics import Interval
from mlfd_tune.tracking.stored_runs import TEST, VAL

__all__ = ["ACCURACIES", "Finding", "Recorded", "expected_values", "judge", "recorded"]

ACCURACIES = (VAL, TEST)
_OF_THIS_SEED = ("val/acc1", "val/acc5", "test/acc1", "test/acc5")
_ROUNDING = 1e-6  # of a mean, percentage points


def expected_values(
    metrics: Mapping[int, Mapping[str, float]], seed: int, stated: Mapping[str, Interval | None]
) -> dict[str, float | None]:
    """Return what stands in `Provenance.expected`.

    Args:
        metrics: Metrics of every seed, in percent.
        seed: The exported seed.
        stated: The leaderboard's intervals by what they are of.
    """
    own = metrics[seed]
    expected: dict[str, float | None] = {name: own[name] for name in _OF_THIS_SEED if name in own}
    for name in ACCURACIES:
        for number, values in metrics.items():
            if name in values:
                expected[f"{name} seed {number}"] = values[name]
    for name, interval in stated.items():
        if interval is not None:
            expected |= {
                f"{name} mean": interval.mean,
                f"{name} low": interval.low,
                f"{name} high": interval.high,
            }
    return expected


@dataclass(frozen=True)
class Recorded:
    """What was recorded of one accuracy, in percent.

    Attributes:
        metric: ``val/acc1`` or ``test/acc1``.
        by_seed: The accuracy of every seed, the exported one among them.
        stated: The mean over them as the leaderboard states it; None where it states none.
    """

    metric: str
    by_seed: Mapping[int, float]
    stated: Interval | None

    def prediction(self, seeds: int) -> tuple[float, float] | None:
        """Return where 95 % of the means over `seeds` new trainings lie; None below two seeds."""
        values = list(self.by_seed.values())
        n = len(values)
        if n < 2:
            return None
        mean = fmean(values)
        quantile = float(special.stdtrit(n - 1, 0.975))
        half_width = quantile * stdev(values) * math.sqrt(1 / seeds + 1 / n)
        return mean - half_width, mean + half_width


def recorded(provenance: Provenance, metric: str) -> Recorded | None:
    """Return what an exported file says of one accuracy, or None where it says nothing."""
    expected = provenance.expected
    start = f"{metric} seed "
    by_seed = {
        int(name.removeprefix(start)): value
        for name, value in expected.items()
        if name.startswith(start) and value is not None
    }
    own = expected.get(metric)
    if own is None:
        return None
    by_seed[provenance.seed] = own
    mean, low, high = (expected.get(f"{metric} {end}") for end in ("mean", "low", "high"))
    stated = None if mean is None else Interval(mean, low, high, len(by_seed))
    return Recorded(metric, by_seed, stated)


@dataclass(frozen=True)
class Finding:
    """What a repetition says of one recorded accuracy.

    Attributes:
        recorded: What was recorded.
        found: The accuracy of every seed that was trained again, in percent.
        interval: Where the mean of them has to lie if it is not the same; None without a spread.
        exact: Every seed has its accuracy again.
        problem: Why it is not reproduced, in a few words; None where it is.
    """

    recorded: Recorded
    found: Mapping[int, float]
    interval: tuple[float, float] | None
    exact: bool
    problem: str | None

    def as_json(self) -> dict[str, Any]:
        """Return it as JSON types."""
        stated = self.recorded.stated
        return {
            "metric": self.recorded.metric,
            "expected": {str(seed): self.recorded.by_seed[seed] for seed in self.found},
            "found": {str(seed): value for seed, value in self.found.items()},
            "mean": fmean(self.found.values()),
            "interval": self.interval,
            "stated": stated and [stated.mean, stated.low, stated.high],
            "exact": self.exact,
            "reproduced": self.problem is None,
            "problem": self.problem,
        }

    def __str__(self) -> str:
        """Say in one line what was expected, within which interval, and what was found."""
        found, expected = (
            ", ".join(f"{values[seed]:.4f}" for seed in self.found)
            for values in (self.found, self.recorded.by_seed)
        )
        seeds = ("seeds " if len(self.found) > 1 else "seed ") + ", ".join(map(str, self.found))
        text = f"{self.recorded.metric} of {seeds}: expected {expected}"
        if self.interval is not None and not self.exact:
            low, high = self.interval
            text += f", or a mean in {low:.2f} to {high:.2f}"
        if self.exact:
            return f"{text}; found exactly that" + (f"; {self.problem}" if self.problem else "")
        text += f"; found {found}"
        if len(self.found) > 1:
            text += f", mean {fmean(self.found.values()):.2f}"
        return text + (f": {self.problem}" if self.problem else ": inside")


def judge(
    recorded: Recorded, found: Mapping[int, float], differences: Sequence[str] = ()
) -> Finding:
    """Return whether accuracies found again bear out the recorded ones (rule: see the module).

    Args:
        recorded: What was recorded.
        found: The accuracy of one or more of its seeds, trained again.
        differences: What differs between then and now; without any, equality is required.
    """
    exact = all(value == recorded.by_seed[seed] for seed, value in found.items())
    interval = recorded.prediction(len(found))
    return Finding(
        recorded, found, interval, exact, _problem(recorded, found, interval, exact, differences)
    )


def _problem(
    recorded: Recorded,
    found: Mapping[int, float],
    interval: tuple[float, float] | None,
    exact: bool,
    differences: Sequence[str],
) -> str | None:
    stated, mean = recorded.stated, fmean(recorded.by_seed.values())
    if stated is not None and abs(stated.mean - mean) > _ROUNDING:
        return f"the stated mean {stated.mean:.4f} is not that of the recorded seeds, {mean:.4f}"
    if exact:
        return None
    if not differences:
        return "differs, though nothing that is recorded does"
    if interval is None:
        return "differs, and one recorded seed gives no interval to judge by"
    low, high = interval
    return None if low <= fmean(found.values()) <= high else "outside"
