"""Readers: a finished network run over the clean images of a split, whatever network it is.

Evaluations go by readers, so that a teacher, a student and a joint teacher are measured alike.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from mlfd_tune.core.data import PackedDataset
from mlfd_tune.core.models.levels import EMBEDDING
from mlfd_tune.core.stages.images import ImageBatches
from mlfd_tune.core.stages.model_files import load_description
from mlfd_tune.core.stages.teacher import Teacher, load_backbone
from mlfd_tune.core.store import Artifact, Stage

if TYPE_CHECKING:
    from mlfd_tune.core.stages.dataset import DatasetStage

__all__ = ["BackboneReader", "Reader", "Reading", "teacher_reader"]


@dataclass(frozen=True)
class Reading:
    """A batch as a network reads it.

    Attributes:
        logits: (N, K) for the network's own classes; None where it has none for the dataset.
        embedding: (N, C), what its classifier takes.
        labels: (N,) int64, the images' classes.
    """

    logits: Tensor | None
    embedding: Tensor
    labels: Tensor


class Reader(ABC):
    """A network that is there, or will be once its stages are computed.

    Attributes:
        label: A few words that tell a person which network this is.
        threads: Intra-op threads on CPU it runs with.
    """

    label: str
    threads: int

    @abstractmethod
    def inputs(self, data: DatasetStage) -> dict[str, Stage]:
        """Return the stages that `read` needs, by name.

        Args:
            data: The dataset to look at, at any image size; not only the network's own.
        """

    @abstractmethod
    def read(
        self, inputs: Mapping[str, Artifact], split: str, device: torch.device
    ) -> Iterator[Reading]:
        """Yield the clean images of a split in order, in batches.

        Args:
            inputs: The artifacts of `inputs`, by the same names.
            split: ``train``, ``val`` or ``test``.
            device: Where the network runs.
        """

    @abstractmethod
    def parameters(self, inputs: Mapping[str, Artifact]) -> int:
        """Return how many parameters it takes to run the network."""


class BackboneReader(Reader):
    """Reads with one backbone: a teacher's, a student's or a baseline's.

    Args:
        stage: The stage that trains or loads it.
        image_size: Side of its images, pixels.
        threads: Intra-op threads on CPU.
    """

    def __init__(self, stage: Stage, image_size: int, threads: int) -> None:
        self.stage = stage
        self.image_size = image_size
        self.threads = threads
        self.label = stage.label

    def inputs(self, data: DatasetStage) -> dict[str, Stage]:  # noqa: D102
        return {"network": self.stage, "images": data.resized(self.image_size)}

    def read(  # noqa: D102
        self, inputs: Mapping[str, Artifact], split: str, device: torch.device
    ) -> Iterator[Reading]:
        folder = inputs["network"].path
        model, about = load_backbone(folder, device), load_description(folder)
        packed = PackedDataset(inputs["images"].path)
        own = list(packed.classes) == about["classes"]
        batches = ImageBatches(packed, split, device, tuple(about["mean"]), tuple(about["std"]))
        for images, labels in batches.clean():
            # Not across the yield: what the caller does is its own affair.
            with torch.inference_mode():
                logits, features = model(images, levels=(EMBEDDING,))
            yield Reading(logits.float() if own else None, features[EMBEDDING].float(), labels)

    def parameters(self, inputs: Mapping[str, Artifact]) -> int:  # noqa: D102
        model = load_backbone(inputs["network"].path, torch.device("cpu"))
        return sum(parameter.numel() for parameter in model.parameters())


def teacher_reader(teacher: Teacher) -> BackboneReader:
    """Return what reads with a teacher."""
    return BackboneReader(teacher, teacher.data.spec.image_size, teacher.threads)
