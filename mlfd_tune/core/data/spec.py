"""The settings that name a dataset and how it is split."""

from __future__ import annotations

from typing import Self

from pydantic import Field, field_validator, model_validator

from mlfd_tune.core.data.registry import DATASETS
from mlfd_tune.core.errors import allowed_values
from mlfd_tune.core.spec import Spec

__all__ = ["DatasetSpec"]


class DatasetSpec(Spec):
    """Which images to learn from and how they are split.

    `path` says where a folder lies, not what is in it: identify a dataset by
    `registry.dataset_identity`, which leaves the path out and the content in.
    """

    source: str = Field(description="Name of a dataset source: digits, letters, photos or folder.")
    path: str | None = Field(
        default=None, description="The dataset's folder. Needed by, and only for, source folder."
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
        if source not in DATASETS:
            raise ValueError(
                f"unknown dataset source {source!r} {allowed_values(source, DATASETS)}"
            )
        return source

    @model_validator(mode="after")
    def _path_is_for_folders(self) -> Self:
        if self.source == "folder" and not self.path:
            raise ValueError("path is needed when source is 'folder'")
        if self.source != "folder" and self.path is not None:
            raise ValueError(f"path is only for source 'folder', not for {self.source!r}")
        return self

    @property
    def shown(self) -> str:
        """The dataset as error messages name it."""
        return f"dataset folder {self.path}" if self.path else f"dataset {self.source!r}"
