"""The bootstrap interval of a mean over seeds."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Final

import numpy as np

from mlfd_tune.ablation.statistics.numbers import finite
from mlfd_tune.core.statistics import Interval

__all__ = ["RESAMPLES", "bca_interval"]

RESAMPLES: Final = 9_999
"""Resamples of the bootstrap."""

_SEED = 0
_EQUAL = 1e-12  # of the largest value: a spread this small is rounding


def bca_interval(values: Sequence[float], confidence: float = 0.95) -> Interval:
    """Return the mean of `values` with its bias-corrected and accelerated bootstrap interval.

    Efron, Better Bootstrap Confidence Intervals (1987). The same values give the same interval,
    in whatever order. It follows the skew of the values, and it never leaves their range: with few
    values it covers the true mean less often than it says (docs/statistics.md has the figures).

    Args:
        values: At least one finite number, one per seed.
        confidence: Coverage strictly between 0 and 1.

    Returns:
        The interval; without ends below two values, and a point where all values are equal.

    Raises:
        ValueError: For no values, a value that is not finite, or a confidence outside (0, 1).
    """
    if not 0 < confidence < 1:
        raise ValueError(f"confidence must lie strictly between 0 and 1, not {confidence}")
    numbers = np.sort(finite(values, "an interval"))  # the resamples go by position
    n, mean = int(numbers.size), float(numbers.mean())
    if n < 2:
        return Interval(mean, None, None, n)
    if float(np.ptp(numbers)) <= _EQUAL * float(np.abs(numbers).max()):
        return Interval(mean, mean, mean, n)
    from scipy.stats import bootstrap

    low, high = bootstrap(
        (numbers,),
        np.mean,
        n_resamples=RESAMPLES,
        confidence_level=confidence,
        method="BCa",
        vectorized=True,
        rng=np.random.default_rng(_SEED),
    ).confidence_interval
    if not (math.isfinite(low) and math.isfinite(high)):
        # All resampled means lie on one side: the correction is infinite, the range is not.
        low, high = numbers[0], numbers[-1]
    return Interval(mean, min(float(low), mean), max(float(high), mean), n)
