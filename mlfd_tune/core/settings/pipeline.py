"""All settings of one configuration, from the images to the seed."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from pydantic import BaseModel, Field, field_validator, model_validator

from mlfd_tune.core.data import DatasetSpec
from mlfd_tune.core.errors import allowed_values
from mlfd_tune.core.names import LONGEST_NAME, problem_with_name, shortened
from mlfd_tune.core.settings.distillation import DistillationSettings
from mlfd_tune.core.settings.joint_teacher import JointTeacherSettings
from mlfd_tune.core.settings.names import MethodName
from mlfd_tune.core.settings.networks import StudentSettings, TeacherSettings
from mlfd_tune.core.settings.other_methods import MultiDatasetSettings, UnicSettings
from mlfd_tune.core.spec import Spec

__all__ = ["PipelineSettings", "deep_merge"]


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
    method: MethodName = Field(
        "mlfd", description="How students learn: a method, baseline or control."
    )
    joint_teacher: JointTeacherSettings = Field(
        JointTeacherSettings(), description="How teachers are fused."
    )
    distillation: DistillationSettings = Field(
        DistillationSettings(), description="The terms of Eq. 3 and their coefficients."
    )
    unic: UnicSettings = Field(UnicSettings(), description="Of method `unic`.")
    multi_dataset: MultiDatasetSettings = Field(
        MultiDatasetSettings(), description="Of the baselines `multi_head` and `joint_head`."
    )
    method_options: dict[str, Any] = Field(
        {}, description="Settings of a method that another package brings."
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
            problem = problem_with_name(name)
            if problem is not None or not re.fullmatch(r"\w[\w-]*", name):
                why = f": it {problem}" if problem else ""
                raise ValueError(
                    f"{shortened(name)!r} is no name for a dataset{why} (allowed: letters, digits, "
                    f"'_', '-'; {LONGEST_NAME} at most)"
                )
        return datasets

    @model_validator(mode="after")
    def _overrides_name_datasets(self) -> PipelineSettings:
        problems = [
            f"{key}: unknown dataset {name!r} {allowed_values(name, self.datasets)}"
            for key, named in (
                ("teachers", self.teachers),
                ("students", self.students),
                ("joint_teacher.teachers", self.joint_teacher.teachers or ()),
                ("unic.teachers", self.unic.teachers or ()),
            )
            for name in named
            if name not in self.datasets
        ]
        if problems:
            raise ValueError("; ".join(problems))
        return self

    def student_arch(self, dataset: str) -> str:
        """Return the architecture of a dataset's student; its teacher's where none is named."""
        return self.students[dataset].arch or self.teachers[dataset].arch

    def student_image_size(self, dataset: str) -> int:
        """Return the side of a student's images in pixels."""
        return self.students[dataset].image_size or self.image_size

    def teacher_image_size(self, dataset: str) -> int:
        """Return the side of a teacher's images in pixels."""
        return self.teachers[dataset].image_size or self.image_size

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
