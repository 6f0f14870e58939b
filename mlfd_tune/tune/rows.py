"""A trial of a study as it stands in the storage."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from optuna.trial import FrozenTrial

__all__ = ["BEGUN", "RAN_TO_THE_END", "STOPPED_AFTER", "Row"]

# User attributes of a trial: that its last epoch is logged everywhere, and only its end is to be
# recorded; after which epoch it is to be stopped; that it was handed to a worker.
RAN_TO_THE_END = "ran_to_the_end"
STOPPED_AFTER = "stopped_after_epoch"
BEGUN = "begun"


@dataclass
class Row:
    """A trial that is not over, and what its record holds: reading that anew takes milliseconds.

    Attributes:
        dataset: Its study.
        number: Its number there.
        trial_id: Its key in the storage.
        reported: The epochs on record.
        end: How it is to end, as soon as all it reported is logged.
        stop_after: The epoch after which it is to be stopped, if that was decided. One that was
            decided by a driver that died was perhaps not logged: such a trial goes on up to there.
        over: Whether it has ended.
        begun: Whether it was ever handed out.
        epoch: The last one it reported to this process.
        reason: Its latest error; Ray may have started it again since.
    """

    dataset: str
    number: int
    trial_id: int
    reported: set[int] = field(default_factory=set)
    end: Literal["complete", "pruned"] | None = None
    stop_after: int | None = None
    over: bool = False
    begun: bool = False
    epoch: int | None = None
    reason: str | None = None

    @classmethod
    def of(cls, dataset: str, trial: FrozenTrial) -> Row:
        """Return what the storage holds of a trial."""
        return cls(
            dataset,
            trial.number,
            trial._trial_id,
            set(trial.intermediate_values),
            "complete" if RAN_TO_THE_END in trial.user_attrs else None,
            trial.user_attrs.get(STOPPED_AFTER),
            trial.state.is_finished(),
            BEGUN in trial.user_attrs,
        )
