"""Top-k accuracy in percent, at once or over batches."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

__all__ = ["AccuracyMeter", "topk_accuracy"]


def topk_accuracy(logits: Tensor, labels: Tensor, ks: Sequence[int] = (1, 5)) -> dict[str, float]:
    """Return ``acc1``, ``acc5``, ... in percent: how often the label is among the k best logits.

    Args:
        logits: ``(N, K)``.
        labels: Class indices ``(N,)``.
        ks: The k of each accuracy; one above the number of classes counts as all of them.
    """
    meter = AccuracyMeter(ks)
    meter.update(logits, labels)
    return meter.compute()


class AccuracyMeter:
    """Counts top-k hits over batches on their device; the host waits in `compute` only.

    Args:
        ks: The k of each accuracy.
    """

    def __init__(self, ks: Sequence[int] = (1, 5)) -> None:
        self.ks = tuple(ks)
        self.reset()

    def reset(self) -> None:
        """Forget every batch."""
        self._hits: Tensor | None = None
        self._images = 0

    def update(self, logits: Tensor, labels: Tensor) -> None:
        """Count a batch: logits ``(N, K)``, class indices ``(N,)``."""
        hits = _hits(logits.detach(), labels, self.ks)
        self._hits = hits if self._hits is None else self._hits + hits
        self._images += len(labels)

    def compute(self) -> dict[str, float]:
        """Return ``acc<k>`` in percent over all batches.

        Raises:
            ValueError: When there was no image.
        """
        if self._hits is None or not self._images:
            raise ValueError("accuracy of no images")
        counts = self._hits.tolist()
        return {
            f"acc{k}": 100.0 * count / self._images
            for k, count in zip(self.ks, counts, strict=True)
        }


def _hits(logits: Tensor, labels: Tensor, ks: tuple[int, ...]) -> Tensor:
    """Return how many labels are among the k best logits, for each k."""
    classes = logits.shape[1]
    best = logits.topk(min(max(ks), classes), dim=1).indices
    among = (best == labels[:, None]).cumsum(dim=1)
    return torch.stack([among[:, min(k, classes) - 1].sum() for k in ks])
