"""Trials that were drawn: what they need, and which of them are not worth a try."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from mlfd_tune.core.errors import UserError
from mlfd_tune.core.store import Stage, walk
from mlfd_tune.tune.failures import Failures
from mlfd_tune.tune.stage_queue import StageQueue
from mlfd_tune.tune.trial import TrialContext, TrialRequestConfig, student_of

__all__ = ["Candidate", "candidate", "refusal", "require_a_way_on"]


@dataclass(frozen=True)
class Candidate:
    """A trial that was drawn.

    Attributes:
        request: What it trains.
        student: Key of its student; None where its settings do not fit together.
        below: The shared stages it needs, inputs first.
        problem: Why its settings do not fit together.
    """

    request: TrialRequestConfig
    student: str | None = None
    below: tuple[Stage, ...] = ()
    problem: str | None = None


def candidate(context: TrialContext, request: TrialRequestConfig) -> Candidate:
    """Return a drawn trial with what it needs."""
    try:
        student = student_of(context, request)
    except UserError as error:
        return Candidate(request, problem=" ".join(error.problems))
    return Candidate(request, student.key, tuple(walk(student.inputs.values())))


def refusal(
    trial: Candidate, failures: Failures, queue: StageQueue, *, goes_on: bool
) -> str | None:
    """Return why a trial is not to be trained; None where it is, or waits.

    Args:
        trial: The trial.
        failures: What failed before.
        queue: Knows the stages that failed.
        goes_on: Whether trials can be trained whatever stages have failed. If none can, the
            machine is rather to blame than the trial: it stays open, for whoever resumes the run.
    """
    if trial.problem is not None:
        return trial.problem
    given_up = failures.given_up(trial.student)
    if given_up is not None:
        return given_up
    broken = queue.broken_of(trial.below)
    if broken is None:
        return None
    stage, reason = broken
    if goes_on or failures.is_certain(stage.key):
        return f"needs {stage.label}, which failed: {reason}"
    return None


def require_a_way_on(queue: StageQueue, needed: Iterable[Stage]) -> None:
    """Raise where a stage that is still needed failed.

    Raises:
        UserError: Names the stage, and why it failed.
    """
    broken = queue.broken_of(needed)
    if broken is not None:
        stage, reason = broken
        raise UserError(
            f"{stage.label} failed, and all that is left needs it: {reason}; mend the cause and go "
            "on with --resume"
        )
