"""Top-k accuracy."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from mlfd_tune.core.metrics import AccuracyMeter, topk_accuracy


@given(
    seed=st.integers(0, 2**32 - 1),
    images=st.integers(1, 40),
    classes=st.integers(1, 12),
    batch=st.integers(1, 40),
)
def test_accuracy_is_the_share_of_labels_among_the_k_best(
    seed: int, images: int, classes: int, batch: int
) -> None:
    random = np.random.default_rng(seed)
    logits = random.permuted(np.arange(images * classes).reshape(images, classes), axis=1)
    labels = random.integers(0, classes, images)
    ranks = (logits > logits[np.arange(images), labels][:, None]).sum(axis=1)
    expected = {f"acc{k}": pytest.approx(100 * np.mean(ranks < k)) for k in (1, 3, 5)}

    scores, classes_of = torch.from_numpy(logits).float(), torch.from_numpy(labels)
    assert topk_accuracy(scores, classes_of, ks=(1, 3, 5)) == expected
    meter = AccuracyMeter(ks=(1, 3, 5))
    for first in range(0, images, batch):
        meter.update(scores[first : first + batch], classes_of[first : first + batch])
    assert meter.compute() == expected


def test_k_above_the_number_of_classes_counts_as_all_of_them() -> None:
    assert topk_accuracy(torch.tensor([[2.0, 1.0]]), torch.tensor([1])) == {
        "acc1": 0.0,
        "acc5": 100.0,
    }


def test_a_meter_can_start_again() -> None:
    meter = AccuracyMeter()
    meter.update(torch.tensor([[2.0, 1.0]]), torch.tensor([1]))
    meter.reset()
    meter.update(torch.tensor([[2.0, 1.0]]), torch.tensor([0]))
    assert meter.compute()["acc1"] == 100.0


def test_a_meter_may_count_in_inference_mode_and_after_it() -> None:
    meter = AccuracyMeter()
    with torch.inference_mode():
        meter.update(torch.tensor([[2.0, 1.0]]), torch.tensor([0]))
    meter.update(torch.tensor([[2.0, 1.0]]), torch.tensor([1]))
    assert meter.compute()["acc1"] == 50.0


def test_no_images_have_no_accuracy() -> None:
    with pytest.raises(ValueError, match="no images"):
        AccuracyMeter().compute()
