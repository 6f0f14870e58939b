"""Some of a dataset's classes, and its images in another style."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from mlfd_tune.core.data import DATASETS, DatasetSpec, dataset_identity, load_dataset
from mlfd_tune.core.data.styles import STYLES
from mlfd_tune.core.errors import UserError


def whole() -> dict[str, tuple[str, np.ndarray]]:
    """Class and pixels of every digit by its name."""
    raw = load_dataset(DatasetSpec(source="digits"))
    return {
        split.name(index): (raw.classes[split.labels[index]], np.asarray(split.image(index)))
        for split in raw.splits.values()
        for index in range(len(split))
    }


def test_the_classes_kept_are_numbered_in_the_order_given():
    everything = whole()
    raw = load_dataset(DatasetSpec(source="digits", classes=["7", "3"]))
    assert raw.classes == ("7", "3")
    for split in raw.splits.values():
        assert set(split.labels) == {0, 1}
        for index in range(0, len(split), 10):
            name, pixels = everything[split.name(index)]
            assert raw.classes[split.labels[index]] == name
            np.testing.assert_array_equal(np.asarray(split.image(index)), pixels)


def test_disjoint_classes_share_no_image():
    halves = [["0", "1", "2"], ["3", "4", "5"]]
    names = [
        {name for split in load_dataset(spec).splits.values() for name in split.names}
        for spec in (DatasetSpec(source="digits", classes=half) for half in halves)
    ]
    assert not names[0] & names[1]


def test_a_class_that_is_not_there_is_named_with_those_that_are():
    with pytest.raises(UserError, match=r"unknown class 'moons'.*did you mean 'moon'"):
        load_dataset(DatasetSpec(source="photos", classes=["moons", "cat"]))


@pytest.mark.parametrize("style", STYLES)
@pytest.mark.parametrize("mode", ["RGB", "L", "RGBA", "P", "I;16"])
def test_a_style_makes_an_rgb_image_of_the_same_size_of_any_other(style, mode):
    image = Image.effect_noise((12, 9), 60).convert("L" if mode == "I;16" else mode)
    shown = STYLES[style](image.convert("I;16") if mode == "I;16" else image)
    assert (shown.mode, shown.size) == ("RGB", (12, 9))


def test_inverting_twice_gives_the_image_back():
    image = load_dataset(DatasetSpec(source="photos")).splits["train"].image(0)
    again = STYLES["invert"](STYLES["invert"](image))
    np.testing.assert_array_equal(np.asarray(again), np.asarray(image.convert("RGB")))


def test_every_style_shows_the_same_split_otherwise():
    plain = load_dataset(DatasetSpec(source="letters", train_size=52)).splits["train"]
    for style in STYLES:
        styled = load_dataset(DatasetSpec(source="letters", train_size=52, style=style))
        assert styled.splits["train"].names == plain.names
        if style != "grey":  # letters are nearly grey already
            before, after = (np.asarray(s.image(3)) for s in (plain, styled.splits["train"]))
            assert np.abs(before.astype(int) - after).mean() > 1, style


def test_identity_knows_classes_and_style_but_not_those_at_their_default():
    settings = dataset_identity(DatasetSpec(source="digits"))["settings"]
    assert settings.keys().isdisjoint({"classes", "style", "options"})
    identities = [
        dataset_identity(DatasetSpec(source="digits", **changes))
        for changes in ({}, {"classes": ["0", "1"]}, {"classes": ["1", "0"]}, {"style": "invert"})
    ]
    assert all(identities.count(identity) == 1 for identity in identities)


def test_the_sources_themselves_know_nothing_of_it():
    spec = DatasetSpec(source="digits", classes=["0", "1"], style="invert")
    assert len(DATASETS["digits"]().load(spec).classes) == 10
