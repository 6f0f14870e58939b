from __future__ import annotations

import numpy as np
from PIL import Image

from mlfd_tune.core.data import RawDataset, RawSplit
from mlfd_tune.core.data.published.notes import first_few, official_notes
from mlfd_tune.core.data.source import Official


def published(**images: int) -> Official:
    return Official(classes=2, images=images, home="", layout="", folder="")


def copy_of(**images: int) -> RawDataset:
    splits = {
        name: RawSplit(
            np.arange(count) % 2,
            tuple(f"{name}/{index}" for index in range(count)),
            lambda index: Image.new("RGB", (1, 1)),
        )
        for name, count in images.items()
    }
    return RawDataset(("a", "b"), splits)


def test_a_whole_copy_needs_no_word():
    assert official_notes(published(train=4, test=2), copy_of(train=4, test=2)) == ()


def test_a_small_copy_is_told_split_by_split():
    assert official_notes(published(train=50_000, test=2), copy_of(train=1_000, test=2)) == (
        "1,000 training images; the published dataset has 50,000",
    )


def test_splits_that_the_source_makes_itself_are_counted_together():
    assert official_notes(published(train=6), copy_of(train=4, test=2)) == ()
    assert official_notes(published(train=9), copy_of(train=4, test=2)) == (
        "6 images; the published dataset has 9",
    )


def test_missing_classes_are_told():
    two = copy_of(train=4)
    three = RawDataset(("a", "b", "c"), two.splits)
    assert official_notes(published(train=4), three) == ("3 classes; the published dataset has 2",)


def test_many_problems_of_one_kind_are_counted_and_not_all_told():
    problems = [f"row {number}" for number in range(5_000)]
    told = first_few(problems, "rows.txt")
    assert told == [*problems[:10], "rows.txt: 4,990 more problems of this kind"]
    assert first_few(problems[:11], "rows.txt") == problems[:11]
