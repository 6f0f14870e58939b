"""The settings of the method itself: datasets, lineup, fusion, distillation, student training.

These are the keys that a search space or an ablation may vary, by their dotted names.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, Field, field_validator, model_validator

from mlfd_tune.core.data import DatasetSpec
from mlfd_tune.core.errors import UserError, allowed_values
from mlfd_tune.core.models import ADAPTORS, LEVELS, check_arch, parse_levels
from mlfd_tune.core.spec import Spec
from mlfd_tune.core.training import TrainSpec

__all__ = [
    "DistillationSettings",
    "JointTeacherSettings",
    "Method",
    "PipelineSettings",
    "StudentSettings",
    "TeacherSettings",
    "deep_merge",
]

Method = Literal["mlfd", "own_teacher", "none"]


def _known_arch(name: str) -> str:
    # pydantic collects ValueErrors of all fields; UserError is for code outside a schema.
    try:
        check_arch(name)
    except UserError as error:
        raise ValueError(str(error)) from None
    return name


def _known_levels(value: Any) -> tuple[str, ...]:
    try:
        return parse_levels(value)
    except UserError as error:
        raise ValueError(str(error)) from None


def _known_adaptor(name: Any) -> Any:
    if name not in ADAPTORS:
        raise ValueError(f"unknown adaptor {name!r} {allowed_values(str(name), ADAPTORS)}")
    return name


Arch = Annotated[str, BeforeValidator(_known_arch)]
Levels = Annotated[tuple[str, ...], BeforeValidator(_known_levels)]
Adaptor = Annotated[str, BeforeValidator(_known_adaptor)]


class TeacherSettings(Spec):
    """One teacher: its architecture and its training."""

    arch: Arch = Field("test_resnet", description="Name of a timm model.")
    train: TrainSpec = Field(TrainSpec(), description="How the teacher is trained.")


class StudentSettings(Spec):
    """One student: its architecture, its training and its seed."""

    arch: Arch | None = Field(
        None, description="Name of a timm model; null for the architecture of its teacher."
    )
    train: TrainSpec = Field(
        TrainSpec(), description="How students, baselines and controls are trained."
    )
    seed: int | None = Field(
        None, description="Seed of initialisation, data order, augmentation; null for `seed`."
    )


class JointTeacherSettings(Spec):
    """How the teachers' features are fused."""

    levels: Levels = Field(
        ("embedding", "stride32"),
        description="Fusion depth: a preset L1, L2, L3, L4, or a list of levels.",
        json_schema_extra={"default": "L2"},
    )
    adaptor: Adaptor = Field(
        "pointwise", description="Block that brings each teacher's features to the common width."
    )
    width: int = Field(64, ge=1, description="Channels each teacher is adapted to.")
    dropout: float = Field(0.5, ge=0, lt=1, description="Dropout before the classifier.")
    norm: Literal["batch", "group"] = Field("batch", description="Normalisation of the blocks.")
    heads: Literal["shared", "per_dataset"] = Field(
        "per_dataset",
        description="`shared`: one joint teacher, a head per dataset, batches that mix all "
        "datasets (paper). `per_dataset`: one joint teacher per target dataset (official code).",
    )
    train: TrainSpec = Field(TrainSpec(), description="How the joint teacher is trained.")


class DistillationSettings(Spec):
    """The coefficients of Eq. 3."""

    alpha: float = Field(0.6, ge=0, description="Weight of the soft CE against the joint teacher.")
    beta: dict[str, Annotated[float, Field(ge=0)]] = Field(
        {"embedding": 0.2, "stride32": 0.2, "stride16": 0.2, "stride8": 0.2},
        description="Weight of the feature MSE: one number for all levels, or one per level "
        "(levels left out have 0.2). Levels that are not fused are ignored.",
    )
    temperature: float = Field(2.0, gt=0, description="Temperature of the soft CE.")
    ce_weight: float = Field(
        1.0,
        ge=0,
        description="Weight of the hard CE: 1 is the paper's Eq. 3, 0.2 the official code.",
    )
    target_norm: Literal["none", "standardise", "layernorm", "l2"] = Field(
        "standardise", description="How the feature targets are normalised before the MSE."
    )
    adaptor: Adaptor = Field(
        "linear", description="Block on the student's side where shapes differ from the targets."
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
        return self


class PipelineSettings(Spec):
    """All that decides a student, from the images to the seed."""

    seed: int = Field(0, ge=0, description="Seed of everything that has no seed of its own.")
    image_size: int = Field(32, ge=8, le=1024, description="Height and width in pixels.")
    datasets: dict[str, DatasetSpec] = Field(
        min_length=1, description="The datasets by the names they go by."
    )
    teacher: TeacherSettings = Field(TeacherSettings(), description="Settings of every teacher.")
    teachers: dict[str, TeacherSettings] = Field(
        {}, description="Per dataset: what differs from `teacher`."
    )
    student: StudentSettings = Field(StudentSettings(), description="Settings of every student.")
    students: dict[str, StudentSettings] = Field(
        {}, description="Per dataset: what differs from `student`."
    )
    method: Method = Field(
        "mlfd",
        description="`mlfd`: distil the joint teacher of all. `own_teacher`: the same distillation "
        "with the dataset's own teacher only. `none`: labels alone.",
    )
    joint_teacher: JointTeacherSettings = Field(
        JointTeacherSettings(), description="How teachers are fused."
    )
    distillation: DistillationSettings = Field(
        DistillationSettings(), description="The coefficients of Eq. 3."
    )

    @model_validator(mode="before")
    @classmethod
    def _fill_in_overrides(cls, value: Any) -> Any:
        """Merge `teacher` under each of `teachers`, and `student` under each of `students`."""
        if not isinstance(value, Mapping) or not isinstance(value.get("datasets"), Mapping):
            return value
        filled = dict(value)
        for one, many in (("teacher", "teachers"), ("student", "students")):
            general, special = _as_mapping(value.get(one)), _as_mapping(value.get(many))
            if isinstance(general, Mapping) and isinstance(special, Mapping):
                names = [
                    *value["datasets"],
                    *(name for name in special if name not in value["datasets"]),
                ]
                filled[many] = {
                    name: deep_merge(general, _as_mapping(special.get(name))) for name in names
                }
        return filled

    @field_validator("datasets")
    @classmethod
    def _names_are_plain(cls, datasets: dict[str, DatasetSpec]) -> dict[str, DatasetSpec]:
        # Names are part of the names of files, metrics and random streams.
        for name in datasets:
            if not re.fullmatch(r"\w[\w-]*", name):
                raise ValueError(
                    f"{name!r} is no name for a dataset (allowed: letters, digits, '_', '-')"
                )
        return datasets

    @model_validator(mode="after")
    def _overrides_name_datasets(self) -> PipelineSettings:
        problems = [
            f"{key}: unknown dataset {name!r} {allowed_values(name, self.datasets)}"
            for key, named in (("teachers", self.teachers), ("students", self.students))
            for name in named
            if name not in self.datasets
        ]
        if problems:
            raise ValueError("; ".join(problems))
        return self

    def student_arch(self, dataset: str) -> str:
        """Return the architecture of a dataset's student; its teacher's where none is named."""
        return self.students[dataset].arch or self.teachers[dataset].arch

    def student_seed(self, dataset: str) -> int:
        """Return the seed of a dataset's student."""
        seed = self.students[dataset].seed
        return self.seed if seed is None else seed


def _as_mapping(value: Any) -> Any:
    """Return settings as what was set of them, nothing as no settings, and all else as it is."""
    if isinstance(value, BaseModel):
        return value.model_dump(exclude_unset=True)
    return {} if value is None else value


def deep_merge(below: Mapping[str, Any], above: Any) -> Any:
    """Return `below` with the values of `above` in it, mapping by mapping."""
    if not isinstance(above, Mapping):
        return above
    merged = dict(below)
    for key, value in above.items():
        old = merged.get(key)
        merged[key] = deep_merge(old, value) if isinstance(old, Mapping) else value
    return merged
