"""Features of frozen teachers, read back sample by sample from their artifacts."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from mlfd_tune.core.data import PackedDataset
from mlfd_tune.core.stages.feature_formats import FeatureArray
from mlfd_tune.core.store import Artifact

__all__ = ["CachedFeatures", "features_name"]

FEATURE_BATCH = 512


class CachedFeatures:
    """Features of every teacher for one dataset's split.

    Args:
        inputs: The artifacts of features and of the packed dataset.
        teachers: Whose features.
        dataset: Of which dataset's images.
        split: ``train`` or ``val``.
    """

    def __init__(
        self, inputs: Mapping[str, Artifact], teachers: Sequence[str], dataset: str, split: str
    ) -> None:
        self._arrays = {
            teacher: FeatureArray(inputs[features_name(teacher, dataset)].path, split)
            for teacher in teachers
        }
        packed = PackedDataset(inputs[f"dataset/{dataset}"].path)
        self.labels = torch.from_numpy(np.asarray(packed.labels(split))).long()

    def __len__(self) -> int:
        return len(self.labels)

    def gather(self, indices: NDArray[np.int64], device: torch.device) -> dict[str, Tensor]:
        """Return float32 features (N, C[, H, W]) of the samples `indices`, by teacher."""
        rows = torch.from_numpy(indices)
        return {teacher: array.gather(rows, device) for teacher, array in self._arrays.items()}

    def batches(self, device: torch.device) -> Iterator[tuple[dict[str, Tensor], Tensor]]:
        """Yield (features by teacher, labels) in order."""
        for first in range(0, len(self), FEATURE_BATCH):
            end = min(first + FEATURE_BATCH, len(self))
            features = {
                teacher: array.between(first, end, device)
                for teacher, array in self._arrays.items()
            }
            yield features, self.labels[first:end]


def features_name(teacher: str, dataset: str) -> str:
    """Return the input name of one teacher's features of one dataset."""
    return f"features/{teacher}/{dataset}"
