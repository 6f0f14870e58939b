"""The settings that name a dataset and how it is split."""

from __future__ import annotations

from typing import Self

from pydantic import Field, field_validator, model_validator

from mlfd_tune.core.data.registry import DATASETS
from mlfd_tune.core.errors import UserError
from mlfd_tune.core.spec import Spec

__all__ = ["DatasetSpec"]


class DatasetSpec(Spec):
    """Which images to learn from and how they are split.

    `path` says where a folder lies, not what is in it: identify a dataset by
    `registry.dataset_identity`, which leaves the path out and the content in.
    """

    source: str = Field(description="Name of a dataset source.")
    path: str | None = Field(
        default=None, description="The dataset's folder, for sources that read one."
    )
    train_size: int | None = Field(
        default=None,
        gt=0,
        description="Keep this many training images, stratified, after validation is carved.",
    )
    val_fraction: float = Field(
        default=0.2,
        gt=0,
        lt=1,
        description="Share of the training images carved for validation where none is shipped.",
    )
    test_fraction: float = Field(
        default=0.2,
        gt=0,
        lt=1,
        description="Share of the images carved for testing where a folder has no test/.",
    )
    split_seed: int = Field(default=0, description="Seed of every carved split.")

    @field_validator("source")
    @classmethod
    def _source_is_registered(cls, source: str) -> str:
        try:
            DATASETS.require(source)
        except UserError as error:
            raise ValueError(str(error)) from None
        return source

    @model_validator(mode="after")
    def _path_suits_the_source(self) -> Self:
        rule = DATASETS[self.source].path
        if rule == "required" and not self.path:
            raise ValueError(f"path is needed when source is {self.source!r}")
        if rule == "none" and self.path is not None:
            raise ValueError(f"path is not for source {self.source!r}, which needs none")
        return self

    @property
    def shown(self) -> str:
        """The dataset as error messages name it."""
        return f"dataset folder {self.path}" if self.path else f"dataset {self.source!r}"
