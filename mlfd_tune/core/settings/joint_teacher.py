"""Settings of the joint teacher: which teachers are fused, at which levels and by what network."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from mlfd_tune.core.models import Alignment, FusionSize, NormKind
from mlfd_tune.core.settings.names import Adaptor, Levels
from mlfd_tune.core.spec import Spec
from mlfd_tune.core.stages.feature_formats import FeaturesDtype
from mlfd_tune.core.training import SamplingPolicy, TrainSpec

__all__ = ["JointTeacherSettings"]


class JointTeacherSettings(Spec):
    """How the teachers' features are fused."""

    teachers: tuple[str, ...] | None = Field(
        None, min_length=1, description="Datasets whose teachers are fused; null for all."
    )
    levels: Levels = Field(
        ("embedding", "stride32"),
        description="Fusion depth: a preset L1, L2, L3, L4, or a list of levels.",
        json_schema_extra={"default": "L2"},
    )
    adaptor: Adaptor = Field(
        "pointwise", description="Block that brings each teacher's features to the common width."
    )
    residual: bool = Field(False, description="A skip connection around each adaptor.")
    alignment: Alignment = Field(
        "pool",
        description="How maps of different height and width are brought together: average pooling, "
        "interpolation, or convolutions of stride 2. Bringing maps up is always interpolation.",
    )
    fuse_at: FusionSize = Field(
        "largest",
        description="Whose height and width: those of the largest teacher map, or the smallest.",
    )
    width: int = Field(64, ge=1, description="Channels each teacher is adapted to.")
    depth: int = Field(
        1,
        ge=1,
        le=8,
        description="Trainable blocks per level. At L1, 1 is the plain concatenation and each more "
        "is a hidden layer.",
    )
    dropout: float = Field(0.5, ge=0, lt=1, description="Dropout before the classifier.")
    norm: NormKind = Field("batch", description="Normalisation of the blocks.")
    heads: Literal["shared", "per_dataset"] = Field(
        "per_dataset",
        description="`shared`: one joint teacher, a head per dataset, batches that mix all "
        "datasets (paper). `per_dataset`: one joint teacher per target dataset (official code).",
    )
    sampling: SamplingPolicy = Field(
        "proportional",
        description="How much of each dataset is in the mixed batches of `heads: shared`: by its "
        "size, every dataset the same, or by its size to the power of 1/sampling_temperature.",
    )
    sampling_temperature: float = Field(
        2.0, ge=1, description="Of `sampling: temperature`; 1 is proportional."
    )
    features_dtype: FeaturesDtype = Field(
        "float16",
        description="How the teachers' features are kept: `float16`; `bfloat16`, of the same size, "
        "for features beyond 65504; `int8`, half the size, off by at most 1/510 of a channel's "
        "range.",
    )
    train: TrainSpec = Field(TrainSpec(), description="How the joint teacher is trained.")
