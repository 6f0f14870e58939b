"""Settings of the methods that do not go by Eq. 3: UNIC, and training on several datasets."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from mlfd_tune.core.settings.names import Levels
from mlfd_tune.core.spec import Spec
from mlfd_tune.core.training import SamplingPolicy

__all__ = ["MultiDatasetSettings", "UnicSettings"]


class UnicSettings(Spec):
    """UNIC: several teachers' features straight to the student, through a ladder of projectors."""

    teachers: tuple[str, ...] | None = Field(
        None, min_length=1, description="Datasets whose teachers are learned from; null for all."
    )
    rungs: Levels | None = Field(
        None,
        description="Levels of the student that have projectors: a preset or a list; null for all "
        "that the student has.",
    )
    token_types: tuple[Literal["embedding", "map"], ...] = Field(
        ("embedding", "map"),
        min_length=1,
        description="What is learned of each teacher: its embedding, its map at stride 32.",
    )
    hidden: int = Field(768, ge=1, description="Hidden width of the projectors.")
    last_hidden: int = Field(3072, ge=1, description="Hidden width at the last rung.")
    dropping: Literal["loss_ranked", "uniform", "none"] = Field(
        "loss_ranked",
        description="Teacher dropping, per image. `loss_ranked`: the teacher with the largest loss "
        "stays, others go at `drop_rate`. `uniform`: all go at `drop_rate`, one always stays.",
    )
    drop_rate: float = Field(0.5, ge=0, lt=1, description="Probability that a teacher is dropped.")
    weight: float = Field(1.0, ge=0, description="Weight of the distillation loss.")
    ce_weight: float = Field(1.0, ge=0, description="Weight of the CE with the labels.")
    labels: bool = Field(
        True,
        description="Whether labels reach the student. If not, they only train the classifier on "
        "features that the teachers alone have formed.",
    )


class MultiDatasetSettings(Spec):
    """The baselines that train one network on all datasets: `multi_head` and `joint_head`."""

    sampling: SamplingPolicy = Field(
        "proportional",
        description="How much of each dataset is in the mixed batches of `joint_head`, beside the "
        "target's own batch: by its size, every dataset the same, or in between.",
    )
    sampling_temperature: float = Field(
        2.0, ge=1, description="Of `sampling: temperature`; 1 is proportional."
    )
