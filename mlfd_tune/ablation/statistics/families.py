"""Several comparisons at once: Holm's correction, and how many seeds a family needs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import numpy as np

from mlfd_tune.ablation.statistics.numbers import finite

__all__ = ["ALPHA", "holm", "seeds_needed"]

ALPHA: Final = 0.05
"""The share of null families in which one false claim or more may be made."""


def holm(ps: Sequence[float]) -> list[float]:
    """Return p values corrected for being a family, in their order.

    The k-th smallest of m is multiplied by ``m - k + 1``, and is never below one before it.

    Holm, A Simple Sequentially Rejective Multiple Test Procedure (1979): claiming a difference
    where the corrected value is at most alpha makes one false claim or more in at most a share
    alpha of all families, however the tests depend on each other.

    Raises:
        ValueError: For a p outside 0 to 1.
    """
    if not ps:
        return []
    values = finite(ps, "a family")
    if values.min() < 0 or values.max() > 1:
        raise ValueError(f"p values lie between 0 and 1, not {values.tolist()}")
    # statsmodels has this too, but collects all garbage of the process in every call: 0.3 s each.
    order = np.argsort(values)
    raised = values[order] * np.arange(values.size, 0, -1)
    corrected = np.empty_like(values)
    corrected[order] = np.minimum(np.maximum.accumulate(raised), 1.0)
    return [float(p) for p in corrected]


def seeds_needed(comparisons: int, alpha: float = ALPHA) -> int:
    """Return the fewest seeds with which a family of sign-flip tests can claim anything.

    The smallest ``n`` with ``comparisons * 2 / 2**n <= alpha``: below it the smallest p that
    exists is too large once it is corrected.

    Raises:
        ValueError: For no comparison, or an alpha outside (0, 1).
    """
    if comparisons < 1:
        raise ValueError(f"a family has at least one comparison, not {comparisons}")
    if not 0 < alpha < 1:
        raise ValueError(f"alpha must lie strictly between 0 and 1, not {alpha}")
    n = 1
    while comparisons * 2.0 / 2**n > alpha:
        n += 1
    return n
