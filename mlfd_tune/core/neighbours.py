"""k-nearest-neighbour classification on frozen features, by a weighted vote of cosines.

As DINO and, after it, UNIC evaluate representations: k = 20 (Wu et al. 2018, section 3.4, for the
vote; Caron et al. 2021 for k). Nothing is trained, so it tells what is in the features themselves.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

__all__ = ["NEIGHBOURS", "TEMPERATURE", "knn_predict", "nearest_neighbours"]

NEIGHBOURS = 20
TEMPERATURE = 0.07

_MOST_AT_ONCE = 1 << 22  # entries of the table of similarities; 16 MB, and three more like it


def knn_predict(
    train: Tensor,
    labels: Tensor,
    images: Tensor,
    num_classes: int,
    k: int = NEIGHBOURS,
    temperature: float = TEMPERATURE,
) -> Tensor:
    """Return the classes (N,) int64 that the nearest training images vote for.

    A neighbour of cosine s votes for its class with ``exp(s / temperature)`` (Wu et al. 2018,
    Eq. in section 3.4). Of classes with equally many votes the first wins.

    Args:
        train: (M, C) embeddings of the training images.
        labels: (M,) int64, their classes.
        images: (N, C) embeddings to classify.
        num_classes: K.
        k: How many neighbours vote; all training images where there are fewer.
        temperature: Of the vote; the smaller, the more the nearest count.

    Returns:
        On the CPU.

    Raises:
        ValueError: There are no training images, or k is below 1.
    """
    cosines, neighbours = nearest_neighbours(train, images, k)
    # On the CPU in the order of the neighbours: a GPU adds in any order.
    weights = (cosines.double() / temperature).exp()
    votes = torch.zeros(len(images), num_classes, dtype=torch.float64)
    votes.scatter_add_(1, labels.cpu()[neighbours], weights)
    return votes.argmax(dim=1)


def nearest_neighbours(train: Tensor, images: Tensor, k: int) -> tuple[Tensor, Tensor]:
    """Return the cosines (N, k) float32 to the k most similar training images, and their indices.

    The neighbours of an image stand in the order of their indices. Where several are equally
    similar, those with lower indices are taken. The table of all similarities is made a part at a
    time, so memory does not grow with the product of both sets.

    Args:
        train: (M, C) embeddings.
        images: (N, C) embeddings.
        k: How many neighbours; M where there are fewer.

    Returns:
        Both on the CPU; the indices are int64.

    Raises:
        ValueError: There are no training images, or k is below 1.
    """
    if k < 1 or not len(train):
        raise ValueError(f"{k} neighbours among {len(train)} images")
    k = min(k, len(train))
    known = F.normalize(train.float(), dim=1).T.contiguous()
    cosines, neighbours = [torch.empty(0, k)], [torch.empty(0, k, dtype=torch.int64)]
    for part in torch.split(images, max(1, _MOST_AT_ONCE // len(train))):
        table = F.normalize(part.float(), dim=1) @ known
        chosen = _chosen(table, k)
        places = chosen.nonzero()[:, 1].reshape(len(part), k)
        neighbours.append(places.cpu())
        cosines.append(table.gather(1, places).cpu())
    return torch.cat(cosines), torch.cat(neighbours)


def _chosen(table: Tensor, k: int) -> Tensor:
    """Mark the k largest entries of every row (N, M), the first ones of those equally large."""
    least = table.topk(k, dim=1).values[:, -1:]  # topk's values are certain, its indices are not
    larger, equal = table > least, table == least
    left = k - larger.sum(dim=1, keepdim=True)
    return larger | (equal & (equal.cumsum(dim=1, dtype=torch.int32) <= left))
