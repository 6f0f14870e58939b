"""Features of frozen teachers, read back sample by sample from their artifacts."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import numpy as np
import torch
from torch import Tensor

from mlfd_tune.core.data import PackedDataset
from mlfd_tune.core.store import Artifact

__all__ = ["CachedFeatures", "features_name"]

FEATURE_BATCH = 512


class CachedFeatures:
    """Features of every teacher for one dataset's split, read from memory maps."""

    def __init__(
        self, inputs: Mapping[str, Artifact], teachers: Sequence[str], dataset: str, split: str
    ) -> None:
        self.arrays = {
            teacher: np.load(
                inputs[features_name(teacher, dataset)].path / f"{split}.npy", mmap_mode="r"
            )
            for teacher in teachers
        }
        packed = PackedDataset(inputs[f"dataset/{dataset}"].path)
        self.labels = torch.from_numpy(np.asarray(packed.labels(split))).long()

    def __len__(self) -> int:
        return len(self.labels)

    def gather(self, indices: np.ndarray, device: torch.device) -> dict[str, Tensor]:
        """Return float32 features (N, C[, H, W]) of the samples `indices`, by teacher."""
        return {
            teacher: torch.from_numpy(np.ascontiguousarray(array[indices])).to(device).float()
            for teacher, array in self.arrays.items()
        }

    def batches(self, device: torch.device) -> Iterator[tuple[dict[str, Tensor], Tensor]]:
        """Yield (features by teacher, labels) in order."""
        for first in range(0, len(self), FEATURE_BATCH):
            indices = np.arange(first, min(first + FEATURE_BATCH, len(self)))
            yield self.gather(indices, device), self.labels[first : first + FEATURE_BATCH]


def features_name(teacher: str, dataset: str) -> str:
    """Return the input name of one teacher's features of one dataset."""
    return f"features/{teacher}/{dataset}"
