"""Settings of the distillation loss, Eq. 3 of the paper and its relatives."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from mlfd_tune.core.errors import allowed_values
from mlfd_tune.core.losses import WeightSchedule
from mlfd_tune.core.models import LEVELS, Alignment
from mlfd_tune.core.settings.names import Adaptor, FeatureLossName
from mlfd_tune.core.spec import Spec

__all__ = ["DistillationSettings"]


class DistillationSettings(Spec):
    """The coefficients of Eq. 3."""

    alpha: float = Field(0.6, ge=0, description="Weight of the soft CE against the teacher.")
    alpha_schedule: WeightSchedule = Field(
        WeightSchedule(), description="How alpha changes over the epochs."
    )
    beta: dict[str, Annotated[float, Field(ge=0)]] = Field(
        {"embedding": 0.2, "stride32": 0.2, "stride16": 0.2, "stride8": 0.2},
        description="Weight of the feature loss: one number for all levels, or one per level "
        "(levels left out have 0.2). Levels that are not distilled are ignored.",
    )
    beta_schedule: WeightSchedule = Field(
        WeightSchedule(), description="How every beta changes over the epochs."
    )
    temperature: float = Field(2.0, gt=0, description="Temperature of the soft CE.")
    logit_loss: Literal["soft_ce", "kl"] = Field(
        "soft_ce",
        description="Soft CE as in the official code, or the KL divergence: less the teacher's "
        "entropy, with the same gradient. Both times the temperature squared.",
    )
    standardise_logits: bool = Field(
        False, description="Z-score both logits over the classes before the temperature."
    )
    ce_weight: float = Field(
        1.0,
        ge=0,
        description="Weight of the hard CE: 1 is the paper's Eq. 3, 0.2 the official code.",
    )
    feature_loss: FeatureLossName = Field(
        "mse", description="What compares features: `mse` is Eq. 3."
    )
    target_norm: Literal["none", "standardise", "layernorm", "l2"] = Field(
        "standardise",
        description="How the feature targets are normalised before they are compared.",
    )
    teacher_view: Literal["clean", "augmented"] = Field(
        "clean",
        description="What the teachers look at: the clean image, computed once, as in the paper; "
        "or in every step the image that the student sees, so that the teachers run along "
        "(consistent teaching, Beyer et al. 2022).",
    )
    adaptor: Adaptor = Field(
        "linear", description="Block on the student's side where shapes differ from the targets."
    )
    residual: bool = Field(False, description="A skip connection around each such block.")
    alignment: Alignment = Field(
        "pool", description="How the student's maps are brought to the targets' height and width."
    )
    hint_level: str = Field(
        "stride16", description="The one level of method `fitnet`, weighted by its beta."
    )

    @model_validator(mode="before")
    @classmethod
    def _complete_beta(cls, value: Any) -> Any:
        if not isinstance(value, Mapping) or "beta" not in value:
            return value
        beta = value["beta"]
        if isinstance(beta, int | float) and not isinstance(beta, bool):
            return {**value, "beta": dict.fromkeys(LEVELS, float(beta))}
        if isinstance(beta, Mapping):
            return {**value, "beta": dict.fromkeys(LEVELS, 0.2) | dict(beta)}
        return value

    @model_validator(mode="after")
    def _levels_exist(self) -> DistillationSettings:
        unknown = [level for level in self.beta if level not in LEVELS]
        if unknown:
            raise ValueError(
                f"beta: unknown level {unknown[0]!r} {allowed_values(unknown[0], LEVELS)}"
            )
        if self.hint_level not in LEVELS:
            known = allowed_values(self.hint_level, LEVELS)
            raise ValueError(f"hint_level: unknown level {self.hint_level!r} {known}")
        return self
