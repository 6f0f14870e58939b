"""Datasets given as ``NAME=SOURCE[:PATH]``, to which no network of a configuration is used."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from pydantic import ValidationError

from mlfd_tune.config import TrainConfig
from mlfd_tune.core.data import DATASETS, DatasetSpec
from mlfd_tune.core.errors import UserError, allowed_values
from mlfd_tune.core.pipeline import Catalogue
from mlfd_tune.core.stages import DatasetStage

__all__ = ["transfer_datasets"]


def transfer_datasets(
    texts: Sequence[str], config: TrainConfig, catalogue: Catalogue
) -> dict[str, DatasetStage]:
    """Return the datasets by their names, each checked to be new to every teacher.

    Images are told by their content: a folder that one of the configuration's datasets reads, or
    a copy of it, is refused under any name. A folder that shares only some images is not found out.

    Args:
        texts: ``NAME=SOURCE[:PATH]``; a path is relative to the current folder.
        config: The configuration whose teachers must not have seen them.
        catalogue: Lists datasets.

    Raises:
        UserError: All problems, each with its text.
    """
    seen = {
        str(catalogue.stage(name, spec, config.image_size).spec.identity["content"]): name
        for name, spec in config.datasets.items()
    }
    found: dict[str, DatasetStage] = {}
    problems: list[str] = []
    for text in texts:
        try:
            name, spec = _parsed(text)
            if name in found:
                raise UserError(f"the name {name!r} stands twice")
            if name in config.datasets:
                raise UserError(f"{name!r} is a dataset of the configuration; take another name")
            stage = catalogue.stage(name, spec, config.image_size)
            known = seen.get(str(stage.spec.identity["content"]))
            if known is not None:
                raise UserError(
                    f"these are the images of dataset {known!r}, which teachers have learned from "
                    "(allowed: a dataset that none has seen)"
                )
            found[name] = stage
        except UserError as error:
            problems += [f"--transfer {text}: {line}" for line in error.problems]
    if problems:
        raise UserError(*problems)
    return found


def _parsed(text: str) -> tuple[str, DatasetSpec]:
    name, equals, rest = text.partition("=")
    source, _, path = rest.partition(":")
    if not equals or not source:
        raise UserError("expected NAME=SOURCE[:PATH], such as mine=folder:pictures")
    if not re.fullmatch(r"\w[\w-]*", name):
        raise UserError(f"{name!r} is no name (allowed: letters, digits, '_', '-')")
    if source not in DATASETS:
        raise UserError(f"unknown dataset source {source!r} {allowed_values(source, DATASETS)}")
    where = str(Path(path).expanduser().absolute()) if path else None
    try:
        return name, DatasetSpec(source=source, path=where)
    except ValidationError as error:
        told = (problem["msg"].removeprefix("Value error, ") for problem in error.errors())
        raise UserError(*told) from None
