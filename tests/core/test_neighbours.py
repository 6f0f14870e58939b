"""k-NN on embeddings, against a plain statement of the vote and against scikit-learn."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from sklearn.neighbors import KNeighborsClassifier

from mlfd_tune.core import neighbours
from mlfd_tune.core.neighbours import NEIGHBOURS, TEMPERATURE, knn_predict, nearest_neighbours


def drawn(seed: int = 0) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Return training embeddings and their classes, and images of the same overlapping classes."""
    rng = np.random.default_rng(seed)
    centres = rng.normal(size=(4, 6))
    labels = rng.integers(4, size=90)
    train = centres[labels] + rng.normal(size=(90, 6))
    images = centres[rng.integers(4, size=50)] + rng.normal(size=(50, 6))
    return torch.from_numpy(train), torch.from_numpy(labels), torch.from_numpy(images)


def stated(train: np.ndarray, labels: np.ndarray, image: np.ndarray, k: int) -> int:
    cosines = train @ image / np.linalg.norm(train, axis=1) / np.linalg.norm(image)
    votes = np.zeros(4)
    for neighbour in np.argsort(-cosines)[:k]:
        votes[labels[neighbour]] += np.exp(cosines[neighbour] / TEMPERATURE)
    return int(votes.argmax())


@pytest.mark.parametrize("k", [1, 5, NEIGHBOURS])
def test_neighbours_vote_with_the_exponential_of_their_cosine(k):
    train, labels, images = drawn()
    found = knn_predict(train, labels, images, 4, k)
    expected = [stated(train.numpy(), labels.numpy(), one, k) for one in images.numpy()]
    assert found.tolist() == expected


def test_the_vote_is_that_of_scikit_learn_with_the_same_weights():
    train, labels, images = drawn(1)
    reference = KNeighborsClassifier(
        NEIGHBOURS, metric="cosine", weights=lambda far: np.exp((1 - far) / TEMPERATURE)
    ).fit(train.numpy(), labels.numpy())
    found = knn_predict(train, labels, images, 4)
    assert found.tolist() == reference.predict(images.numpy()).tolist()


def test_with_few_training_images_all_of_them_vote():
    train, labels, images = drawn()
    found = knn_predict(train[:3], labels[:3], images, 4, 20)
    assert torch.equal(found, knn_predict(train[:3], labels[:3], images, 4, 3))


def test_a_part_at_a_time_gives_the_same(monkeypatch):
    train, labels, images = drawn()
    whole = knn_predict(train, labels, images, 4)
    monkeypatch.setattr(neighbours, "_MOST_AT_ONCE", 7 * len(train))
    assert torch.equal(knn_predict(train, labels, images, 4), whole)


def test_of_equally_similar_images_the_first_are_neighbours():
    train = torch.tensor([[0.0, 1.0], [2.0, 0.0], [1.0, 0.0], [4.0, 0.0], [-1.0, 0.0]])
    cosines, found = nearest_neighbours(train, torch.tensor([[1.0, 0.0]]), 2)
    assert found.tolist() == [[1, 2]]
    assert cosines.tolist() == [[1.0, 1.0]]
    cosines, found = nearest_neighbours(train, torch.tensor([[1.0, 0.0]]), 4)
    assert found.tolist() == [[0, 1, 2, 3]]


def test_of_classes_with_equal_votes_the_first_wins():
    train = torch.tensor([[1.0, 0.0], [1.0, 0.0]])
    assert knn_predict(train, torch.tensor([2, 1]), train, 3).tolist() == [1, 1]


def test_images_without_direction_still_get_an_answer():
    train, labels, _ = drawn()
    assert knn_predict(train, labels, torch.zeros(2, 6), 4).shape == (2,)


@pytest.mark.parametrize(("images", "k"), [(0, 5), (3, 0)])
def test_no_neighbours_are_refused(images, k):
    with pytest.raises(ValueError, match="neighbours among"):
        knn_predict(
            torch.ones(images, 2), torch.zeros(images, dtype=torch.int64), torch.ones(1, 2), 2, k
        )
