"""What goes into training on several datasets at once: shares, mixed epochs, endless passes."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Literal

import torch
from torch import Tensor

__all__ = [
    "SAMPLING_POLICIES",
    "Passes",
    "SamplingPolicy",
    "mixed_order",
    "sampling_shares",
    "whole_batches",
]

SamplingPolicy = Literal["proportional", "uniform", "temperature"]

SAMPLING_POLICIES: tuple[SamplingPolicy, ...] = ("proportional", "uniform", "temperature")


def sampling_shares(
    sizes: Sequence[int], policy: SamplingPolicy, temperature: float | None = None
) -> list[float]:
    """Return each dataset's share of the samples, 1 in all.

    * ``proportional``: by its size n, so that every sample is as likely.
    * ``uniform``: every dataset the same.
    * ``temperature``: by n^(1/temperature), between the two: 1 is proportional, infinity uniform
      (Devlin et al. 2019, multilingual BERT; Arivazhagan et al. 2019).

    Args:
        sizes: Samples of each dataset.
        policy: One of `SAMPLING_POLICIES`.
        temperature: Of the policy ``temperature``, at least 1; the others have no use for it.

    Raises:
        ValueError: A dataset is empty or there is none, or the temperature is missing or below 1.
    """
    _require_samples(sizes)
    weights = [size ** _power(policy, temperature) for size in sizes]
    return [weight / sum(weights) for weight in weights]


def mixed_order(
    sizes: Sequence[int], shares: Sequence[float], generator: torch.Generator
) -> Tensor:
    """Return an epoch over the concatenated datasets, as long as all of them, well mixed.

    A dataset whose share is above its size is gone through more than once, each time in a new
    order; of one whose share is below, a random part is seen.

    Args:
        sizes: Samples of each dataset, in the order of the concatenation.
        shares: The share of each in the epoch, 1 in all.
        generator: Source of all draws.

    Returns:
        Indices (sum of sizes,) into the concatenation, int64.

    Raises:
        ValueError: A dataset is empty or there is none, or the shares are not 1 in all.
    """
    _require_samples(sizes)
    chosen, start = [], 0
    for size, count in zip(sizes, _counts(sum(sizes), shares), strict=True):
        passes = [torch.randperm(size, generator=generator) for _ in range(-(-count // size))]
        if passes:
            chosen.append(start + torch.cat(passes)[:count])
        start += size
    pool = torch.cat(chosen)
    return pool[torch.randperm(len(pool), generator=generator)]


def whole_batches(size: int, batch_size: int, accumulate: int) -> int:
    """Return the batches of an epoch: whole ones only, and only those that fill optimizer steps.

    Args:
        size: Samples of the dataset; when they do not fill one batch, they are one.
        batch_size: Samples of a batch.
        accumulate: Batches of an optimizer step, or all there are when they are fewer.
    """
    batches = max(size // batch_size, 1)
    return batches - batches % min(accumulate, batches)


class Passes:
    """The samples of one dataset in passes without end, every pass in an order of its own.

    What stands at a position depends on the position alone, so that a training that goes on from
    a checkpoint sees the same samples. Every pass has every sample once, so that in any stretch
    that begins with a pass all samples come equally often up to one.

    Args:
        size: Samples of the dataset.
        generator: Makes the source of a pass's order from its number, counted from 1.

    Raises:
        ValueError: The dataset is empty.
    """

    def __init__(self, size: int, generator: Callable[[int], torch.Generator]) -> None:
        _require_samples([size])
        self.size = size
        self._generator = generator
        self._last: tuple[int, Tensor] = (0, torch.empty(0, dtype=torch.int64))

    def at(self, start: int, count: int) -> Tensor:
        """Return the `count` samples (count,), one or more, from position `start` on, int64."""
        pieces, end = [], start + count
        while start < end:
            before, offset = divmod(start, self.size)
            piece = self._order(before + 1)[offset : offset + end - start]
            pieces.append(piece)
            start += len(piece)
        return torch.cat(pieces)

    def _order(self, number: int) -> Tensor:
        if self._last[0] != number:  # batches come one after the other, mostly out of one pass
            order = torch.randperm(self.size, generator=self._generator(number))
            self._last = (number, order)
        return self._last[1]


def _power(policy: SamplingPolicy, temperature: float | None) -> float:
    if policy != "temperature":
        return {"proportional": 1.0, "uniform": 0.0}[policy]
    if temperature is None or not temperature >= 1:
        raise ValueError(f"the sampling temperature is {temperature} (allowed: 1 or more)")
    return 1 / temperature


def _counts(total: int, shares: Sequence[float]) -> list[int]:
    """Divide `total` by the shares, the largest remainders rounded up."""
    if not math.isclose(sum(shares), 1.0):
        raise ValueError(f"the shares {list(shares)} are not 1 in all")
    quotas = [share * total for share in shares]
    counts = [int(quota) for quota in quotas]
    by_remainder = sorted(range(len(quotas)), key=lambda i: counts[i] - quotas[i])
    for index in by_remainder[: total - sum(counts)]:
        counts[index] += 1
    return counts


def _require_samples(sizes: Sequence[int]) -> None:
    if not sizes or min(sizes) < 1:
        raise ValueError(f"datasets of {list(sizes)} samples (allowed: 1 or more of each)")
