"""The size of an effect in units of its own scatter."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from scipy import special

from mlfd_tune.ablation.statistics.numbers import finite

__all__ = ["hedges_g"]

_EQUAL = 1e-12


def hedges_g(differences: Sequence[float]) -> float | None:
    """Return the standardised mean of paired differences, corrected for few of them.

    ``g = J(n - 1) * mean / s`` with the sample standard deviation ``s`` of the differences
    (divisor ``n - 1``) and ``J(m) = gamma(m / 2) / (sqrt(m / 2) * gamma((m - 1) / 2))``, which
    makes it unbiased for normal differences (Hedges, Distribution Theory for Glass's Estimator of
    Effect Size, 1981). It is in units of how much the difference varies from seed to seed, not of
    how much accuracy does, and so large where pairing works.

    Returns:
        The effect size, or None below three differences (``J(1) = 0``) or where all are equal.

    Raises:
        ValueError: For no differences, or one that is not finite.
    """
    numbers = finite(differences, "an effect size")
    spread = float(numbers.std(ddof=1)) if numbers.size > 2 else 0.0
    if spread <= _EQUAL * float(np.abs(numbers).max()):
        return None
    freedom = int(numbers.size) - 1
    log_gamma = special.gammaln(freedom / 2) - special.gammaln((freedom - 1) / 2)
    correction = math.exp(float(log_gamma)) / math.sqrt(freedom / 2)
    return correction * float(numbers.mean()) / spread
