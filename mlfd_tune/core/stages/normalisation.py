"""How a network's input images are normalised: by the dataset's statistics or by given ones."""

from __future__ import annotations

from typing import Literal, TypeAlias

import timm
from pydantic import Field

from mlfd_tune.core.errors import UserError
from mlfd_tune.core.spec import Spec
from mlfd_tune.core.stages.weights import WeightsSource

__all__ = ["IMAGENET", "Normalisation", "NormalisationChoice", "choose_normalisation"]

NormalisationChoice: TypeAlias = Literal["auto", "dataset", "imagenet", "architecture"]


class Normalisation(Spec):
    """Given channel statistics, in 0-1 units; where there are none, the dataset's own are used.

    The numbers stand in the identity of what is computed with them, and not where they come from:
    equal statistics from two places give equal results.
    """

    mean: tuple[float, ...] = Field(min_length=3, max_length=3)
    std: tuple[float, ...] = Field(min_length=3, max_length=3)


IMAGENET = Normalisation(mean=(0.485, 0.456, 0.406), std=(0.229, 0.224, 0.225))


def choose_normalisation(
    choice: NormalisationChoice, arch: str, source: WeightsSource | None = None
) -> Normalisation | None:
    """Return the statistics to normalise with, or None for the dataset's own.

    Args:
        choice: ``auto`` takes those that the weights were trained with: timm's for its pretrained
            weights, and those in the description beside a file; else the dataset's own.
        arch: The timm architecture.
        source: Where the weights come from; None where training starts from scratch.

    Raises:
        UserError: The architecture's own are asked for, and timm names none.
    """
    if choice == "imagenet":
        return IMAGENET
    if choice == "architecture":
        return _of_architecture(arch)
    if choice == "dataset" or source is None:
        return None
    return _of_architecture(arch) if source.kind == "timm" else _of_file(source)


def _of_architecture(arch: str) -> Normalisation:
    config = timm.get_pretrained_cfg(arch)
    if config is None or not config.mean or not config.std:
        raise UserError(
            f"normalisation: timm names no mean and std of {arch!r} (allowed: auto, dataset, "
            "imagenet)"
        )
    return Normalisation(mean=tuple(config.mean), std=tuple(config.std))


def _of_file(source: WeightsSource) -> Normalisation | None:
    about = source.description()
    return Normalisation(mean=about["mean"], std=about["std"]) if about else None
