"""The one training loop: teachers, joint teachers, students and baselines all go through it.

`TrainSpec` says how to train, a `Task` says what, and `Trainer` does it an epoch at a time with
complete checkpoints.
"""

from mlfd_tune.core.training.optimisation import build_optimizer, build_schedule
from mlfd_tune.core.training.sampling import (
    SAMPLING_POLICIES,
    Passes,
    SamplingPolicy,
    mixed_order,
    sampling_shares,
    whole_batches,
)
from mlfd_tune.core.training.spec import TrainSpec
from mlfd_tune.core.training.task import Task
from mlfd_tune.core.training.trainer import Trainer

__all__ = [
    "SAMPLING_POLICIES",
    "Passes",
    "SamplingPolicy",
    "Task",
    "TrainSpec",
    "Trainer",
    "build_optimizer",
    "build_schedule",
    "mixed_order",
    "sampling_shares",
    "whole_batches",
]
