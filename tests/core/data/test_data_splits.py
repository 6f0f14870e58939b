from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from mlfd_tune.core.data import (
    DatasetSpec,
    RawDataset,
    RawSplit,
    prepare_splits,
    stratified_split,
    stratified_subset,
)
from mlfd_tune.core.errors import UserError

class_counts = st.lists(st.integers(1, 40), min_size=2, max_size=6)


def split_of(counts: list[int]) -> RawSplit:
    labels = np.repeat(np.arange(len(counts)), counts)
    numbers = np.concatenate([np.arange(count) for count in counts])
    names = tuple(f"{label}/{number}" for label, number in zip(labels, numbers, strict=True))
    return RawSplit(labels, names, lambda index: Image.new("RGB", (1, 1), (index, 0, 0)))


@given(counts=class_counts, fraction=st.floats(0.01, 0.99), seed=st.integers(0, 5))
def test_a_carved_split_takes_from_every_class_and_empties_none(counts, fraction, seed):
    split = split_of(counts)
    kept, carved = stratified_split(split, fraction, seed)
    assert sorted(kept.names + carved.names) == sorted(split.names)
    for label, count in enumerate(counts):
        n_carved = int((carved.labels == label).sum())
        assert n_carved == 0 if count == 1 else 1 <= n_carved <= count - 1
        assert abs(n_carved - fraction * count) <= 1


def test_the_same_seed_carves_the_same_images_and_another_seed_others():
    split = split_of([30, 30])
    names = [stratified_split(split, 0.2, seed)[1].names for seed in (0, 0, 1)]
    assert names[0] == names[1] != names[2]


def test_one_more_image_in_a_class_moves_no_image_of_another():
    small, large = (stratified_split(split_of([20, n]), 0.25, 0)[1] for n in (20, 23))
    of_class_0 = [{n for n in carved.names if n.startswith("0/")} for carved in (small, large)]
    assert of_class_0[0] == of_class_0[1]


@given(counts=class_counts, seed=st.integers(0, 5), data=st.data())
def test_a_subset_has_the_size_asked_for_and_every_class(counts, seed, data):
    split = split_of(counts)
    size = data.draw(st.integers(len(counts), len(split)))
    subset = stratified_subset(split, size, seed)
    assert len(subset) == size
    assert set(subset.labels) == set(range(len(counts)))
    assert set(subset.names) <= set(split.names)


def test_a_subset_keeps_proportions_and_smaller_ones_lie_inside_larger_ones():
    split = split_of([60, 30, 10])
    large, small = (stratified_subset(split, size, 0) for size in (50, 20))
    np.testing.assert_array_equal(np.bincount(large.labels), [30, 15, 5])
    np.testing.assert_array_equal(np.bincount(small.labels), [12, 6, 2])
    assert set(small.names) < set(large.names)


def test_a_subset_opens_the_images_it_names():
    subset = split_of([5, 5]).subset(np.array([7, 2]))
    assert [subset.image(index).getpixel((0, 0))[0] for index in range(2)] == [7, 2]
    assert [subset.name(index) for index in range(2)] == ["1/2", "0/2"]


def test_shipped_splits_are_used_as_they_are():
    shipped = {name: split_of([4, 4]) for name in ("train", "val", "test")}
    ready = prepare_splits(RawDataset(("a", "b"), shipped), DatasetSpec(source="digits"))
    assert ready.splits == shipped


def test_training_is_cut_after_validation_is_carved_and_preparing_twice_changes_nothing():
    raw = RawDataset(("a", "b"), {"train": split_of([50, 50]), "test": split_of([5, 5])})
    spec = DatasetSpec(source="digits", train_size=20)
    once = prepare_splits(raw, spec)
    twice = prepare_splits(once, spec)
    assert {name: len(split) for name, split in once.splits.items()} == {
        "train": 20,
        "val": 20,
        "test": 10,
    }
    assert [s.names for s in once.splits.values()] == [s.names for s in twice.splits.values()]


@pytest.mark.parametrize("train_size", [1, 81])
def test_a_train_size_that_does_not_fit_says_what_does(train_size):
    raw = RawDataset(("a", "b"), {"train": split_of([50, 50]), "test": split_of([5, 5])})
    with pytest.raises(UserError, match=r"train_size .*allowed: 2, one image a class, to 80"):
        prepare_splits(raw, DatasetSpec(source="digits", train_size=train_size))


def test_classes_of_one_image_each_cannot_be_split():
    raw = RawDataset(("a", "b"), {"train": split_of([1, 1]), "test": split_of([1, 1])})
    with pytest.raises(UserError, match="too few images to carve a val split"):
        prepare_splits(raw, DatasetSpec(source="digits"))
