"""The tables of the MLFD paper as printed: rows, datasets and figures, from one data file."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from importlib.resources import files
from typing import Final

import yaml
from pydantic import BaseModel, ConfigDict, TypeAdapter

__all__ = ["FILE", "PublishedDataset", "PublishedRow", "PublishedTable", "published_tables"]

FILE: Final = "published_tables.yaml"
"""The data file, in this package."""


class _Record(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class PublishedDataset(_Record):
    """A dataset of a printed table.

    Attributes:
        name: As printed.
        arch: timm's name of the architecture that was trained on it.
    """

    name: str
    arch: str


class PublishedRow(_Record):
    """A row of a printed table.

    Attributes:
        model: As printed.
        levels: As printed; ``-`` where there are none.
        arm: The arm here that does the same.
        group: Rows of one group share one best figure in bold.
        published: Top-1 and top-5 in percent by dataset source; empty for a row the paper lacks.
    """

    model: str
    levels: str
    arm: str
    group: str | None = None
    published: Mapping[str, tuple[float, float]] = {}


class PublishedTable(_Record):
    """A printed table.

    Attributes:
        caption: What it is of.
        levels: Heading of the column of levels.
        sources: Its datasets by their source here, in the order printed.
        rows: Its rows in the order printed.
    """

    caption: str
    levels: str
    sources: Mapping[str, PublishedDataset]
    rows: tuple[PublishedRow, ...]


@cache
def published_tables() -> Mapping[str, PublishedTable]:
    """Return the printed tables by name: ``table2``, ``table3`` and ``table4``."""
    text = files("mlfd_tune.report").joinpath(FILE).read_text(encoding="utf-8")
    return TypeAdapter(dict[str, PublishedTable]).validate_python(yaml.safe_load(text))
