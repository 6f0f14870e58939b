"""What the studies say about their trials: plain records, without Optuna or Ray."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

__all__ = ["EndedTrial", "FinishedTrial", "Outcome", "Reconciled", "StudySummary", "TrialRequest"]

Outcome = Literal["complete", "pruned", "failed"]
"""How a trial ended: ran to its last epoch, was stopped early, or raised an error."""


@dataclass(frozen=True)
class TrialRequest:
    """A trial to run: the dataset's study, the trial's number in it, and what it drew."""

    dataset: str
    number: int
    params: dict[str, Any]


@dataclass(frozen=True)
class FinishedTrial:
    """A trial that ran to its last epoch, and the metric's value there."""

    dataset: str
    number: int
    params: dict[str, Any]
    value: float


@dataclass(frozen=True)
class EndedTrial:
    """A trial that is over, however it ended, and the last epoch it reported (0 if none)."""

    dataset: str
    number: int
    params: dict[str, Any]
    outcome: Outcome
    epoch: int
    reason: str | None


@dataclass(frozen=True)
class StudySummary:
    """Where one dataset's study stands. `planned` counts the trials not yet asked for, too."""

    planned: int
    complete: int
    pruned: int
    failed: int
    running: int
    waiting: int
    best: FinishedTrial | None


@dataclass(frozen=True)
class Reconciled:
    """What a dead driver left behind, as (dataset, number).

    Attributes:
        settled: Trials that had ended, and are now recorded so.
        again: Trials that will be handed out again, those that a worker had begun first.
        begun: Those of them that a worker had begun; the others had only been drawn.
    """

    settled: tuple[tuple[str, int], ...]
    again: tuple[tuple[str, int], ...]
    begun: tuple[tuple[str, int], ...]
