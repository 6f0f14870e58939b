"""Batches of packed images, and how a classifier does on a split."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from mlfd_tune.core.data import AugmentSpec, PackedDataset, augment, normalise, to_float
from mlfd_tune.core.held_rows import HeldRows, without_waiting
from mlfd_tune.core.layout import image_layout
from mlfd_tune.core.metrics import AccuracyMeter
from mlfd_tune.core.models import Backbone

__all__ = ["ImageBatches", "evaluate_classifier"]

EVALUATION_BATCH = 256


class ImageBatches:
    """Batches of one split as normalised float images on a device.

    Args:
        packed: The packed dataset.
        split: ``train``, ``val`` or ``test``.
        device: Where batches go.
        mean: Channel means to normalise with; the dataset's own when None.
        std: Channel standard deviations to normalise with; the dataset's own when None.
    """

    def __init__(
        self,
        packed: PackedDataset,
        split: str,
        device: torch.device,
        mean: tuple[float, ...] | None = None,
        std: tuple[float, ...] | None = None,
    ) -> None:
        self.images = HeldRows(packed.image_tensor(split), device)
        self.labels = torch.from_numpy(np.asarray(packed.labels(split))).long()
        self.device = device
        self.classes = packed.classes
        self.mean = mean or packed.mean
        self.std = std or packed.std
        # As tensors, for numbers would be sent to a GPU anew with every batch.
        self._shift = torch.tensor(self.mean, dtype=torch.float32, device=device)
        self._scale = torch.tensor(self.std, dtype=torch.float32, device=device)

    def __len__(self) -> int:
        return len(self.labels)

    def augmented(
        self, indices: Tensor, spec: AugmentSpec, generator: torch.Generator
    ) -> tuple[Tensor, Tensor]:
        """Return augmented images (N, 3, H, W) and labels (N,) of the samples `indices`."""
        images, labels = self.varied(indices, spec, generator)
        return self.normalised(images), labels

    def varied(
        self, indices: Tensor, spec: AugmentSpec, generator: torch.Generator
    ) -> tuple[Tensor, Tensor]:
        """Return what `augmented` does with the images in 0-1, before they are normalised."""
        raw = self.images.take(indices)
        if raw.is_cuda:
            # One draw from the CPU stream seeds the device's own, so that order is kept.
            seed = int(torch.randint(2**62, (1,), generator=generator))
            generator = torch.Generator(device=raw.device).manual_seed(seed)
        labels = without_waiting(self.labels[indices], self.device)
        return augment(raw, spec, generator), labels

    def clean(self, size: int = EVALUATION_BATCH) -> Iterator[tuple[Tensor, Tensor]]:
        """Yield unaugmented batches (images (N, 3, H, W), labels (N,)) in order."""
        for first in range(0, len(self), size):
            end = min(first + size, len(self))
            images = self.normalised(to_float(self.images.between(first, end)))
            yield images, without_waiting(self.labels[first:end], self.device)

    def normalised(self, images: Tensor) -> Tensor:
        """Return images (N, 3, H, W) in 0-1 less the mean, over the standard deviation."""
        normalised = normalise(images, self._shift, self._scale)
        return normalised.contiguous(memory_format=image_layout(self.device))


@torch.inference_mode()
def evaluate_classifier(model: Backbone, batches: ImageBatches, prefix: str) -> dict[str, float]:
    """Return top-1 and top-5 accuracy in percent and the mean CE on a split.

    Args:
        model: A backbone in evaluation mode.
        batches: The split.
        prefix: ``val`` or ``test``; the metrics are ``<prefix>/acc1`` and so on.
    """
    meter = AccuracyMeter()
    loss = torch.zeros((), device=batches.device)
    for images, labels in batches.clean():
        logits, _ = model(images)
        meter.update(logits, labels)
        loss += F.cross_entropy(logits.float(), labels, reduction="sum")
    accuracy = {f"{prefix}/{name}": value for name, value in meter.compute().items()}
    return accuracy | {f"{prefix}/loss": float(loss) / max(len(batches), 1)}
