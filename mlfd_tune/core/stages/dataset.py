"""Stage `dataset`: images decoded and resized once into packed, memory-mapped arrays."""

from __future__ import annotations

import copy
from functools import cached_property
from typing import Any

from mlfd_tune.core.data import DatasetSpec, dataset_identity, load_dataset, pack
from mlfd_tune.core.spec import Spec
from mlfd_tune.core.stages.model_files import NPY_HEADER
from mlfd_tune.core.store import Stage, StageContext, StageResult

__all__ = ["DatasetStage", "PackSpec"]


class PackSpec(Spec):
    """Identity of a packed dataset: what the images are, not where they lie."""

    identity: dict[str, Any]
    image_size: int


class DatasetStage(Stage):
    """Packs one dataset.

    Args:
        name: What the user calls the dataset.
        source: Where it is and how it is split.
        image_size: Height and width in pixels.

    Raises:
        UserError: The dataset cannot be read.
    """

    name = "dataset"
    spec: PackSpec

    def __init__(self, name: str, source: DatasetSpec, image_size: int) -> None:
        self.dataset_name = name
        self.source = source
        self.spec = PackSpec(identity=dataset_identity(source), image_size=image_size)

    def resized(self, image_size: int) -> DatasetStage:
        """Return the stage that packs the same images at another size."""
        other = copy.copy(self)
        other.spec = self.spec.model_copy(update={"image_size": image_size})
        other.__dict__.pop("key", None)  # the cached key is of this size
        return other

    @property
    def label(self) -> str:  # noqa: D102
        return f"dataset {self.dataset_name}"

    @property
    def dataset(self) -> str:  # noqa: D102
        return self.dataset_name

    @cached_property
    def listing(self) -> tuple[dict[str, int], tuple[str, ...]]:
        """Images per split, and the names of the classes."""
        raw = load_dataset(self.source)
        return {name: len(split) for name, split in raw.splits.items()}, raw.classes

    @property
    def counts(self) -> dict[str, int]:
        """Images per split."""
        return self.listing[0]

    @property
    def num_classes(self) -> int:
        """How many classes there are."""
        return len(self.listing[1])

    def estimate_bytes(self) -> int:
        """Three bytes a pixel and eight a label; the description is small beside them."""
        counts, classes = self.listing
        arrays = sum(counts.values()) * (3 * self.spec.image_size**2 + 8)
        # Escaped, a character of a class name takes at most 6 bytes.
        description = 1024 + sum(8 + 6 * len(name) for name in classes)
        return arrays + 2 * len(counts) * NPY_HEADER + description

    def run(self, context: StageContext) -> StageResult:
        """Decode, resize and write every split."""

        def report(done: int, total: int) -> None:
            context.progress(done / max(total, 1), f"{done}/{total} images")

        raw = load_dataset(self.source)
        return StageResult(
            pack(raw, self.source, self.spec.image_size, context.out, progress=report)
        )
