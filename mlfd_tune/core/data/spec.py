"""The settings that name a dataset and how it is split."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, ClassVar, Self

from pydantic import Field, ValidationError, field_validator, model_validator

from mlfd_tune.core.data.registry import DATASETS
from mlfd_tune.core.data.styles import StyleName
from mlfd_tune.core.errors import UserError, allowed_values
from mlfd_tune.core.spec import Spec, canonical_json

__all__ = ["DatasetSpec"]


class DatasetSpec(Spec):
    """Which images to learn from and how they are split.

    `path` says where a folder lies, not what is in it: identify a dataset by
    `registry.dataset_identity`, which leaves the path out and the content in.
    """

    added_later: ClassVar[frozenset[str]] = frozenset({"options", "classes", "style"})

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
    classes: tuple[str, ...] | None = Field(
        default=None,
        min_length=2,
        description="Keep these classes only, by name and in this order; null for all.",
    )
    style: StyleName = Field(
        default="none",
        description="Show every image in another style, which makes a related dataset of its own.",
    )
    options: dict[str, Any] = Field(
        default={}, description="Settings that only this source has, such as `fold`."
    )

    @field_validator("source")
    @classmethod
    def _source_is_registered(cls, source: str) -> str:
        try:
            DATASETS.require(source)
        except UserError as error:
            raise ValueError(str(error)) from None
        return source

    @field_validator("classes")
    @classmethod
    def _classes_stand_once(cls, classes: tuple[str, ...] | None) -> tuple[str, ...] | None:
        twice = [name for name in dict.fromkeys(classes or ()) if (classes or ()).count(name) > 1]
        if twice:
            raise ValueError(f"class {twice[0]!r} stands twice")
        return classes

    @model_validator(mode="after")
    def _options_suit_the_source(self) -> Self:
        options = DATASETS[self.source].Options
        try:
            chosen = options.model_validate(self.options)
        except ValidationError as error:
            known = options.model_fields
            raise ValueError("; ".join(_in_words(error, self.source, known))) from None
        # Only what differs from the defaults, so that an option added later changes no identity.
        plain = chosen.model_dump(mode="json", exclude_defaults=True)
        object.__setattr__(self, "options", plain)
        return self

    @model_validator(mode="after")
    def _path_suits_the_source(self) -> Self:
        rule = DATASETS[self.source].path
        if rule == "required" and not self.path:
            raise ValueError(f"path is needed when source is {self.source!r}")
        if rule == "none" and self.path is not None:
            raise ValueError(f"path is not for source {self.source!r}, which needs none")
        return self

    def __hash__(self) -> int:  # pydantic's own cannot hash the options
        return hash(canonical_json(self))

    @property
    def shown(self) -> str:
        """The dataset as error messages name it."""
        if self.path:
            return f"dataset {DATASETS[self.source].path_is} {self.path}"
        return f"dataset {self.source!r}"


def _in_words(error: ValidationError, source: str, known: dict[str, Any]) -> Iterator[str]:
    for problem in error.errors():
        key = ".".join(map(str, problem["loc"]))
        if problem["type"] == "extra_forbidden":
            allowed = allowed_values(key, known) if known else "(it has none)"
            yield f"options: source {source!r} has no option {key!r} {allowed}"
        else:
            yield f"options.{key}: {problem['msg']} (got {problem['input']!r})"
