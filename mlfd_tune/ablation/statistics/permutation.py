"""The sign-flip test of paired differences, exact."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from mlfd_tune.ablation.statistics.numbers import finite

__all__ = ["MOST_EXACT", "RESAMPLES", "SignFlip", "sign_flip"]

MOST_EXACT: Final = 40
"""Up to this many differences all signs are counted: two halves of 2**20 sums at most."""

RESAMPLES: Final = 99_999
"""Random signs that stand for all of them beyond `MOST_EXACT`."""

_TIE = 1e-9  # of the sum of all magnitudes: sums this close are equal but for rounding


@dataclass(frozen=True)
class SignFlip:
    """A two-sided sign-flip test.

    Attributes:
        p: How often random signs give a mean at least as far from zero as the observed one.
        floor: The smallest p that this many differences can have.
        n: Number of differences.
    """

    p: float
    floor: float
    n: int


def sign_flip(differences: Sequence[float]) -> SignFlip:
    """Test whether paired differences are centred on zero, by flipping their signs.

    Under the null hypothesis that the two arms are exchangeable within a seed, every difference is
    as likely with one sign as with the other. ``p`` is the share of all ``2**n`` assignments of
    signs whose absolute mean is at least the observed one; the observed one is among them, so that
    ``p >= 2 / 2**n``. Nothing is assumed of the shape of the distribution. Ties count as at least
    as extreme. (Fisher, The Design of Experiments, 1935, section 21.)

    Args:
        differences: At least one finite number, one per seed.

    Raises:
        ValueError: For no differences, or one that is not finite.
    """
    numbers = finite(differences, "a sign-flip test")
    n = int(numbers.size)
    if n > MOST_EXACT:
        return _sampled(numbers)
    magnitudes = np.abs(numbers)
    observed = abs(float(numbers.sum())) - _TIE * float(magnitudes.sum())
    if observed <= 0:
        return SignFlip(1.0, 2.0 / 2**n, n)
    # Sums of n signed magnitudes are sums over one half of them plus sums over the other half.
    one, other = _signed_sums(magnitudes[: n // 2]), np.sort(_signed_sums(magnitudes[n // 2 :]))
    above = other.size - np.searchsorted(other, observed - one, side="left")
    return SignFlip(2 * int(above.sum()) / 2**n, 2.0 / 2**n, n)


def _signed_sums(magnitudes: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the sums `(2**n,)` of all assignments of signs."""
    sums = np.zeros(1)
    for magnitude in magnitudes:
        sums = np.concatenate([sums + magnitude, sums - magnitude])
    return sums


def _sampled(numbers: NDArray[np.float64]) -> SignFlip:
    from scipy.stats import permutation_test

    tested = permutation_test(
        (numbers,),
        np.mean,
        permutation_type="samples",
        vectorized=True,
        n_resamples=RESAMPLES,
        batch=1_000,
        rng=np.random.default_rng(0),
    )
    return SignFlip(min(1.0, float(tested.pvalue)), 2.0 / (RESAMPLES + 1), int(numbers.size))
