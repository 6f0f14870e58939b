"""The check that every statistic makes of its input."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["finite"]


def finite(values: Iterable[float], what: str) -> NDArray[np.float64]:
    """Return at least one finite number as an array `(n,)`.

    Raises:
        ValueError: For no values, or one that is not finite; `what` says whose they are.
    """
    numbers: NDArray[Any] = np.asarray(list(values), dtype=np.float64)
    if numbers.size == 0:
        raise ValueError(f"{what} needs at least one value")
    if not np.isfinite(numbers).all():
        raise ValueError(f"{what} needs finite values, not {numbers.tolist()}")
    return numbers
