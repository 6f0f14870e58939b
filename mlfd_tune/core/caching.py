"""Which of the shared results are kept on disk, and which are made anew by whoever needs them.

Features and targets may be large: an image's features are 376 kB for one of the paper's lineups at
L2 in half precision. So caching is a plan. The plan decides where a student's lessons come from and
has no part in any identity: a student is the same under every plan, within the stored precision.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from mlfd_tune.core.memory import free_memory_bytes
from mlfd_tune.core.sizes import size_text

__all__ = [
    "CachePlan",
    "Caching",
    "Estimates",
    "Rates",
    "Uses",
    "choose_cache",
]

CachePlan = Literal["targets", "features", "none"]
"""``targets``: features and targets are stored. ``features``: features are; the joint teacher runs
while a student trains. ``none``: neither; the teachers run, for the joint teacher as well."""

_MEMORY_SHARE = 1 / 8  # of what is free: other trials of this machine do the same


@dataclass(frozen=True)
class Caching:
    """What is stored of features and targets, and why.

    Attributes:
        plan: What is stored.
        reason: For people; empty where nothing was chosen.
        memory_bytes: What one training may hold in memory in place of an artifact; None for an
            eighth of what is free when it starts. What fits is computed once, in the batches and
            the order of the stage whose artifact it stands for, and equals it bit by bit on CPU.
            What does not fit is computed for every batch of the training: the batches are others
            then, and the sums of a network's layers differ in their last digits.
    """

    plan: CachePlan = "targets"
    reason: str = ""
    memory_bytes: int | None = None

    def __str__(self) -> str:
        return f"cache: {self.plan}" + (f" ({self.reason})" if self.reason else "")

    def fits_memory(self, needed: int) -> bool:
        """Tell whether a training that starts now may hold `needed` bytes in memory."""
        if self.memory_bytes is not None:
            return needed <= self.memory_bytes
        return needed <= free_memory_bytes() * _MEMORY_SHARE


@dataclass(frozen=True)
class Estimates:
    """Bytes that artifacts will take which are not in the store yet, by what they hold.

    Attributes:
        rest: Datasets, networks and all else that every plan stores.
        features: What frozen teachers see.
        targets: What students learn from.
    """

    rest: int = 0
    features: int = 0
    targets: int = 0

    def __add__(self, other: Estimates) -> Estimates:
        return Estimates(
            self.rest + other.rest, self.features + other.features, self.targets + other.targets
        )

    def under(self, plan: CachePlan) -> int:
        """Return the bytes that a plan stores."""
        features = 0 if plan == "none" else self.features
        return self.rest + features + (self.targets if plan == "targets" else 0)


@dataclass(frozen=True)
class Rates:
    """Seconds that one image's features of one teacher take on this machine.

    Attributes:
        read: To read from an artifact.
        run: To compute by running the teacher.
    """

    read: float
    run: float


@dataclass(frozen=True)
class Uses:
    """How often an image's features of one teacher are needed, over all trainings to come.

    Attributes:
        extracted: Computed once for all, where they are stored and not there yet.
        read: Read from artifacts, where they are stored.
        run: Computed by whoever needs them, where they are not.
    """

    extracted: int
    read: int
    run: int


def choose_cache(
    estimates: Estimates, budget: int, rates: Rates | None = None, uses: Uses | None = None
) -> Caching:
    """Return what to store, and why.

    Targets where they fit: they are computed once and a batch of them is read in no time. Else
    features where they fit, unless it is known that running the teachers takes less time than
    reading what they said. Else nothing.

    Args:
        estimates: What each kind of artifact takes.
        budget: Bytes that are left.
        rates: What features cost, read or computed; None where it was not measured.
        uses: How often they are needed.
    """
    left = f"{size_text(budget)} left"
    with_targets = size_text(estimates.under("targets"))
    if estimates.under("targets") <= budget:
        return Caching("targets", f"{with_targets} of {left}")
    if not estimates.features:
        return Caching("none", f"with targets {with_targets}, {left}")
    with_features = size_text(estimates.under("features"))
    if estimates.under("features") > budget:
        return Caching("none", f"with features {with_features}, {left}")
    if rates is not None and uses is not None:
        stored = uses.extracted * rates.run + uses.read * rates.read
        anew = uses.run * rates.run
        if anew < stored:
            times = f"{_seconds_text(anew)} to run the teachers, {_seconds_text(stored)} to store"
            return Caching(
                "none", f"{times} and read features; with targets {with_targets}, {left}"
            )
    return Caching("features", f"with targets {with_targets}, {left}")


def _seconds_text(seconds: float) -> str:
    return f"{seconds:.1f} s" if seconds < 100 else f"{seconds / 60:.0f} min"
