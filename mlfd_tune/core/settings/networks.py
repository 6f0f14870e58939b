"""Settings of the networks that are trained on images: teachers and students."""

from __future__ import annotations

from typing import Literal, Self

from pydantic import Field, model_validator

from mlfd_tune.core.settings.names import Arch
from mlfd_tune.core.spec import Spec
from mlfd_tune.core.training import TrainSpec

__all__ = ["StudentSettings", "TeacherSettings"]


class TeacherSettings(Spec):
    """One teacher: its architecture, where its weights come from, and its training."""

    arch: Arch = Field("test_resnet", description="Name of a timm model.")
    weights: str | None = Field(
        None,
        min_length=1,
        description="null: trained from scratch (paper). `pretrained`: timm's published weights. "
        "Else a checkpoint: a `.safetensors` or `.pth` file, or an MLflow URI such as "
        "`models:/name/1`, `models:/name@champion` or `runs:/<run id>/path`.",
    )
    fine_tune: bool = Field(
        False,
        description="Train on from `weights`; otherwise they are used as they are, and only a "
        "classifier that does not fit the dataset's classes is fitted anew.",
    )
    normalisation: Literal["auto", "dataset", "imagenet", "architecture"] = Field(
        "auto",
        description="Channel means and deviations of the teacher's images: the dataset's own, "
        "ImageNet's, or those timm names for the architecture. `auto`: what the weights were "
        "trained with where that is known, else the dataset's.",
    )
    image_size: int | None = Field(
        None, ge=8, le=1024, description="Pixels of this teacher's images; null for `image_size`."
    )
    train: TrainSpec = Field(TrainSpec(), description="How the teacher is trained.")

    @model_validator(mode="after")
    def _something_to_fine_tune(self) -> Self:
        if self.fine_tune and self.weights is None:
            raise ValueError("fine_tune: there are no weights to train on from (set weights)")
        return self


class StudentSettings(Spec):
    """One student: its architecture, its training and its seed."""

    arch: Arch | None = Field(
        None, description="Name of a timm model; null for the architecture of its teacher."
    )
    image_size: int | None = Field(
        None, ge=8, le=1024, description="Pixels of this student's images; null for `image_size`."
    )
    train: TrainSpec = Field(
        TrainSpec(), description="How students, baselines and controls are trained."
    )
    seed: int | None = Field(
        None, description="Seed of initialisation, data order, augmentation; null for `seed`."
    )
