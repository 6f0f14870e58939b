"""How error is spent when results are looked at more than once."""

from __future__ import annotations

import itertools
import math

from mlfd_tune.ablation.statistics.families import ALPHA

__all__ = ["look_confidences"]


def look_confidences(looks: int, alpha: float = ALPHA) -> list[float]:
    """Return the confidence that the interval of each look needs, when one may stop at any look.

    Lan and DeMets, Discrete Sequential Boundaries for Clinical Trials (1983), with their function
    ``alpha * ln(1 + (e - 1) t)``, which spends like Pocock's boundaries: at look ``k`` of ``K``,
    after equal steps of information, ``t = k / K``, and what look ``k`` may spend is the growth of
    the function since the look before. Its interval has confidence one minus that.

    The chance that any of the intervals misses the true value is at most the sum of the chances
    that each of them does (the union bound), so at most `alpha`, whatever the looks have in common
    and whatever decides when to stop. Boundaries computed from the correlation of the looks would
    be a little narrower, but hold for normal data with known spread only; seeds are few.

    Args:
        looks: The most looks there can be, the last included.
        alpha: What all looks together may spend.

    Raises:
        ValueError: For no look, or an alpha outside (0, 1).
    """
    if looks < 1:
        raise ValueError(f"there is at least one look, not {looks}")
    if not 0 < alpha < 1:
        raise ValueError(f"alpha must lie strictly between 0 and 1, not {alpha}")
    spent = [alpha * math.log1p((math.e - 1) * look / looks) for look in range(looks + 1)]
    return [1 - (now - before) for before, now in itertools.pairwise(spent)]
