"""Intervals of means and of paired differences over seeds.

Plain Student t: with three to ten seeds there is too little data for anything finer. Values are
percentages (0-100) wherever the platform uses this module, but nothing here depends on it.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
from scipy import special

__all__ = ["Interval", "mean_interval", "paired_interval"]

SeedT = TypeVar("SeedT")


@dataclass(frozen=True)
class Interval:
    """A mean with its two-sided confidence interval.

    Attributes:
        mean: Arithmetic mean of the values.
        low: Lower end, or None when fewer than two values leave the spread unknown.
        high: Upper end, or None likewise.
        n: Number of values.
    """

    mean: float
    low: float | None
    high: float | None
    n: int


def mean_interval(values: Sequence[float], confidence: float = 0.95) -> Interval:
    """Return the mean of `values` and its Student t interval.

    ``mean ± t(1 - (1 - confidence) / 2, n - 1) · s / sqrt(n)`` with the sample standard deviation
    `s` (divisor ``n - 1``).

    Assumes that the values are independent draws from one roughly normal population, one value per
    seed. The interval speaks of new seeds on the same data split; it says nothing of new data.

    Args:
        values: At least one finite number.
        confidence: Coverage strictly between 0 and 1.

    Raises:
        ValueError: For no values, a value that is not finite, or a confidence outside (0, 1).
    """
    if not 0 < confidence < 1:
        raise ValueError(f"confidence must lie strictly between 0 and 1, not {confidence}")
    numbers = np.asarray(list(values), dtype=np.float64)
    if numbers.size == 0:
        raise ValueError("an interval needs at least one value")
    if not np.isfinite(numbers).all():
        raise ValueError(f"an interval needs finite values, not {numbers.tolist()}")
    n = int(numbers.size)
    mean = float(numbers.mean())
    if n < 2:
        return Interval(mean, None, None, n)
    # Student's t quantile; `scipy.stats` has it too, at half a second of import time.
    quantile = float(special.stdtrit(n - 1, (1 + confidence) / 2))
    half_width = quantile * float(numbers.std(ddof=1)) / math.sqrt(n)
    return Interval(mean, mean - half_width, mean + half_width, n)


def paired_interval(
    values: Mapping[SeedT, float], reference: Mapping[SeedT, float], confidence: float = 0.95
) -> Interval | None:
    """Return the mean of ``values - reference`` over the seeds both have, with its t interval.

    Assumes that the two values of one seed share initialisation, data order and augmentation, so
    that their difference is free of what the seed alone does, and that the differences are
    independent and roughly normal. Seeds that only one side has are left out.

    Args:
        values: Result per seed of what is judged.
        reference: Result per seed of what it is judged against.
        confidence: Coverage strictly between 0 and 1.

    Returns:
        The interval, or None when no seed is shared.

    Raises:
        ValueError: For a value that is not finite, or a confidence outside (0, 1).
    """
    shared = [seed for seed in values if seed in reference]
    if not shared:
        return None
    return mean_interval([values[seed] - reference[seed] for seed in shared], confidence)
