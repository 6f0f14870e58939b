from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from mlfd_tune.core.data import DatasetSpec, RawDataset, RawSplit, load_dataset
from mlfd_tune.core.data.contact_sheet import CELL, GAP, MAX_CLASSES, contact_sheet
from mlfd_tune.core.errors import UserError


def plain(classes: int, per_class: int, size: tuple[int, int] = (30, 30)) -> RawDataset:
    """Images of one shade for each class: class 0 is red 10, class 1 is red 20, and so on."""
    labels = np.repeat(np.arange(classes), per_class)
    names = tuple(f"train/{index}" for index in range(len(labels)))

    def open_image(index: int) -> Image.Image:
        return Image.new("RGB", size, (10 + 10 * int(labels[index]), 0, 0))

    split = RawSplit(labels, names, open_image)
    return RawDataset(tuple(f"class {label}" for label in range(classes)), {"train": split})


def reds(sheet: Image.Image) -> list[int]:
    """The shades of the images that are on a sheet, in the order of the classes."""
    pixels = np.asarray(sheet).reshape(-1, 3)
    found = pixels[(pixels[:, 0] > 0) & (pixels[:, 1] == 0) & (pixels[:, 2] == 0)]
    return sorted(set(found[:, 0].tolist()))


def area(sheet: Image.Image, red: int) -> int:
    return int((np.asarray(sheet) == (red, 0, 0)).all(axis=2).sum())


def test_every_class_has_a_row_of_images_on_white():
    sheet = contact_sheet(plain(3, 20), "mine", per_class=4)
    assert sheet.mode == "RGB"
    assert sheet.getpixel((0, 0)) == (255, 255, 255)
    assert reds(sheet) == [10, 20, 30]
    assert all(area(sheet, red) == 4 * (CELL - 2) ** 2 for red in (10, 20, 30))  # without frames


def test_a_class_of_few_images_shows_what_it_has():
    assert area(contact_sheet(plain(2, 3), "mine"), 10) == 3 * (CELL - 2) ** 2


def test_of_many_classes_some_are_shown_from_the_first_to_near_the_last():
    sheet = contact_sheet(plain(24, 2), "mine")
    shown = [(red - 10) // 10 for red in reds(sheet)]
    assert len(shown) == MAX_CLASSES
    assert shown[0] == 0
    assert shown[-1] >= 22
    assert sheet.height == contact_sheet(plain(MAX_CLASSES, 2), "mine").height


@pytest.mark.parametrize(("size", "share"), [((300, 150), 0.5), ((8, 16), 0.5), ((1, 400), 0.01)])
def test_an_image_keeps_its_proportions(size, share):
    sheet = contact_sheet(plain(2, 1, size), "mine")
    assert area(sheet, 10) == pytest.approx(share * CELL**2, rel=0.1)


def test_which_images_are_shown_is_fixed_by_the_seed():
    raw = load_dataset(DatasetSpec(source="digits"))

    def pixels(seed: int) -> bytes:
        return contact_sheet(raw, "digits", seed=seed).tobytes()

    assert pixels(0) == pixels(0)
    assert pixels(0) != pixels(1)


def test_small_images_are_enlarged_without_smoothing():
    raw = load_dataset(DatasetSpec(source="digits"))
    sheet = np.asarray(contact_sheet(raw, "digits", per_class=1, seed=0))
    rows = sheet[-20 - GAP - CELL + 1 : -20 - GAP - 1, :, 0]
    assert (rows[:, :-1] == rows[:, 1:]).mean() > 0.9


def test_an_image_that_cannot_be_read_leaves_the_others():
    raw = plain(2, 2)

    def open_image(index: int) -> Image.Image:
        if index == 0:
            raise UserError("train/0 is damaged")
        return raw.splits["train"].image(index)

    split = RawSplit(raw.splits["train"].labels, raw.splits["train"].names, open_image)
    sheet = contact_sheet(RawDataset(raw.classes, {"train": split}), "mine")
    assert area(sheet, 10) == (CELL - 2) ** 2
    assert area(sheet, 20) == 2 * (CELL - 2) ** 2


def test_long_names_stay_left_of_the_images():
    raw = plain(2, 2)
    long = RawDataset(("a very long name " * 9, "Größe: \u00e9t\u00e9\nnew line"), raw.splits)
    names = np.asarray(contact_sheet(long, "a title " * 40))
    assert (names[:, -10:] == 255).all()
    images = contact_sheet(long, "mine")
    assert area(images, 10) == 2 * (CELL - 2) ** 2
