"""A trial of a study as it stands in the storage."""

from __future__ import annotations

from dataclasses import dataclass, field

from optuna.trial import FrozenTrial

__all__ = ["BEGUN", "RAN_TO_THE_END", "STOPPED_AFTER", "Row"]

# User attributes of a trial, written as soon as its end is decided.
RAN_TO_THE_END = "ran_to_the_end"
STOPPED_AFTER = "stopped_after_epoch"
# And one for a trial that was handed to a worker.
BEGUN = "begun"


@dataclass
class Row:
    """A trial that is not over, and what its record holds: reading that anew takes milliseconds.

    Attributes:
        dataset: Its study.
        number: Its number there.
        trial_id: Its key in the storage.
        reported: The epochs on record.
        end: The mark of its decided end, if it has one.
        over: Whether it has ended.
        begun: Whether it was ever handed out.
        epoch: The last one it reported to this process.
        reason: Its latest error; Ray may have started it again since.
    """

    dataset: str
    number: int
    trial_id: int
    reported: set[int] = field(default_factory=set)
    end: str | None = None
    over: bool = False
    begun: bool = False
    epoch: int | None = None
    reason: str | None = None

    @classmethod
    def of(cls, dataset: str, trial: FrozenTrial) -> Row:
        """Return what the storage holds of a trial."""
        marks = (mark for mark in (RAN_TO_THE_END, STOPPED_AFTER) if mark in trial.user_attrs)
        return cls(
            dataset,
            trial.number,
            trial._trial_id,
            set(trial.intermediate_values),
            next(marks, None),
            trial.state.is_finished(),
            BEGUN in trial.user_attrs,
        )
