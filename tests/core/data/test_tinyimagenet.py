from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from mlfd_tune.core.data import DATASETS, DatasetSpec, check_dataset, load_dataset
from mlfd_tune.core.errors import UserError
from tests.helpers.layouts_imagenet import TINY_WNIDS, rearrange_val, write_tinyimagenet

WNIDS = TINY_WNIDS[:3]  # n02124075, n04067472, n04540053


def spec_of(root: Path, **settings) -> DatasetSpec:
    return DatasetSpec(source="tinyimagenet", path=str(root), **settings)


@pytest.fixture
def tiny(tmp_path: Path) -> Path:
    """Return the folder tiny-imagenet-200 of a small copy."""
    return write_tinyimagenet(tmp_path, classes=3, per_class=6) / "tiny-imagenet-200"


def problems_of(root: Path) -> list[str]:
    """Return the problems, with the dataset's folder left out of them."""
    found = DATASETS["tinyimagenet"]().inspect(spec_of(root))
    with pytest.raises(UserError) as caught:
        load_dataset(spec_of(root))
    assert caught.value.problems == found.problems
    assert all(f"in dataset folder {root}" in problem for problem in found.problems)
    return [problem.replace(f" in dataset folder {root}", "") for problem in found.problems]


def edit_annotations(root: Path, edit: Callable[[list[str]], list[str]]) -> None:
    path = root / "val/val_annotations.txt"
    path.write_text("\n".join(edit(path.read_text().splitlines())) + "\n")


def test_its_validation_images_are_the_test_split(tiny):
    raw = load_dataset(spec_of(tiny))
    assert raw.classes == tuple(sorted(WNIDS))
    sizes = {name: len(split) for name, split in raw.splits.items()}
    assert sizes == {"train": 15, "val": 3, "test": 6}
    assert raw.splits["test"].names == tuple(f"val/images/val_{index}.JPEG" for index in range(6))
    np.testing.assert_array_equal(raw.splits["test"].labels, [0, 0, 1, 1, 2, 2])
    assert raw.splits["train"].name(0) == "train/n02124075/images/n02124075_0.JPEG"
    assert raw.splits["train"].image(0).size == (64, 64)


def test_labels_come_from_the_annotations_and_not_from_their_order(tiny):
    edit_annotations(tiny, lambda rows: rows[::-1])
    swapped = [row.replace(WNIDS[0], "first").replace(WNIDS[1], WNIDS[0]) for row in rows_of(tiny)]
    edit_annotations(tiny, lambda _: [row.replace("first", WNIDS[1]) for row in swapped])
    label_of = labels_of_test_images(tiny)
    assert [label_of[f"val_{index}.JPEG"] for index in range(6)] == [1, 1, 0, 0, 2, 2]


def rows_of(root: Path) -> list[str]:
    return (root / "val/val_annotations.txt").read_text().splitlines()


@pytest.mark.parametrize("inner", ["images", "."])
def test_validation_images_that_were_sorted_into_classes_are_read_too(tiny, inner):
    published = labels_of_test_images(tiny)
    rearrange_val(tiny.parent, inner)
    assert labels_of_test_images(tiny) == published


def labels_of_test_images(root: Path) -> dict[str, int]:
    test = load_dataset(spec_of(root)).splits["test"]
    files = (name.split("/")[-1] for name in test.names)
    return dict(zip(files, test.labels.tolist(), strict=True))


def test_the_path_may_be_the_folder_that_it_was_unpacked_in(tiny):
    names = [load_dataset(spec_of(root)).splits["train"].names for root in (tiny, tiny.parent)]
    assert names[0] == names[1]


def test_words_boxes_and_the_unlabelled_test_images_are_not_needed(tiny):
    (tiny / "words.txt").unlink()
    for boxes in tiny.glob("train/*/*_boxes.txt"):
        boxes.unlink()
    for image in tiny.glob("test/images/*"):
        image.unlink()
    assert check_dataset("it", spec_of(tiny)).ok


def test_a_small_copy_is_told_from_the_whole_and_allowed(tiny):
    report = check_dataset("it", spec_of(tiny))
    assert report.ok
    assert report.warnings[:3] == (
        "18 training images; the published dataset has 100,000",
        "6 test images; the published dataset has 10,000",
        "3 classes; the published dataset has 200",
    )


def test_the_fingerprint_follows_images_and_labels_and_not_the_place(tiny):
    source = DATASETS["tinyimagenet"]()
    before = source.fingerprint(spec_of(tiny))
    moved = tiny.rename(tiny.parent / "elsewhere")
    (moved / "words.txt").write_text("other words")
    assert source.fingerprint(spec_of(moved)) == before
    edit_annotations(moved, lambda rows: [row.replace(WNIDS[0], WNIDS[1]) for row in rows])
    relabelled = source.fingerprint(spec_of(moved))
    assert relabelled != before
    Image.new("RGB", (64, 64)).save(moved / f"train/{WNIDS[0]}/images/{WNIDS[0]}_1.JPEG")
    assert source.fingerprint(spec_of(moved)) not in (before, relabelled)
    (moved / "wnids.txt").unlink()
    with pytest.raises(UserError, match=r"wnids.txt .* is missing"):
        source.fingerprint(spec_of(moved))


# What is broken, and what is said of it.


@pytest.mark.parametrize("part", ["wnids.txt", "train", "val", "val/val_annotations.txt"])
def test_missing_parts_are_named(tiny, part):
    (tiny / part).rename(tiny / "taken_away")
    assert problems_of(tiny) == [f"{part} is missing; unpack tiny-imagenet-200.zip again"]


def test_a_folder_without_anything_of_it_names_all_that_is_missing(tmp_path):
    assert [problem.split(" ")[0] for problem in problems_of(tmp_path)] == [
        "wnids.txt",
        "train",
        "val",
    ]


def test_lines_of_wnids_that_are_no_wnids_or_stand_twice_are_told(tiny):
    (tiny / "wnids.txt").write_text("\n".join([*WNIDS, "n0212407", WNIDS[1]]))
    assert problems_of(tiny) == [
        "wnids.txt line 4: 'n0212407' is no wnid",
        f"wnids.txt has '{WNIDS[1]}' twice",
    ]


def test_one_class_only_is_not_enough(tmp_path):
    root = write_tinyimagenet(tmp_path, classes=1) / "tiny-imagenet-200"
    assert problems_of(root) == [
        "wnids.txt has one class only (n02124075); at least two are needed"
    ]


def test_all_broken_class_folders_are_told_at_once(tiny):
    train = tiny / "train"
    (train / WNIDS[0] / "images" / "more").mkdir()
    for image in (train / WNIDS[1] / "images").iterdir():
        image.rename(image.with_suffix(".txt"))
    (train / WNIDS[2]).rename(train / "n04540054")
    assert problems_of(tiny) == [
        "train has folder 'n04540054', which is not in wnids.txt (did you mean 'n04540053'?)",
        f"train/{WNIDS[0]}/images/more is a folder; images lie directly in train/{WNIDS[0]}/images",
        f"train/{WNIDS[1]}/images is empty: a class needs images that end in .JPEG",
        f"train/{WNIDS[2]}/images is missing, but wnids.txt has {WNIDS[2]}; "
        "unpack tiny-imagenet-200.zip again",
    ]


def test_all_broken_annotations_are_told_at_once(tiny):
    def spoil(rows: list[str]) -> list[str]:
        return [
            rows[0],
            rows[1].replace("\t", " "),
            rows[2].replace(WNIDS[1], "n04067473"),
            rows[3].replace("val_3", "val_33"),
            rows[4],
            rows[4],
        ]

    edit_annotations(tiny, spoil)
    where = "val/val_annotations.txt"
    assert problems_of(tiny) == [
        f"{where} line 2: 'val_1.JPEG {WNIDS[0]} 0 32 44 62' has 1 columns between tabs, not 6",
        f"{where} line 3: 'n04067473' is not in wnids.txt (did you mean 'n04067472'?)",
        f"{where} line 4: val/images has no 'val_33.JPEG' (did you mean 'val_3.JPEG'?)",
        f"{where} line 6: 'val_4.JPEG' has a line before this one",
    ]


def test_images_without_an_annotation_are_told(tiny):
    edit_annotations(tiny, lambda rows: rows[:-1])
    assert problems_of(tiny) == ["val/val_annotations.txt has no line for val/images/val_5.JPEG"]


def test_many_problems_of_one_kind_are_counted_and_not_all_told(tiny):
    edit_annotations(tiny, lambda rows: [f"no_{n}.JPEG\t{WNIDS[0]}\t0\t0\t9\t9" for n in range(99)])
    problems = problems_of(tiny)
    assert "val/val_annotations.txt: 89 more problems of this kind" in problems
    assert len(problems) == 11 + 6


def test_two_arrangements_of_val_at_once_are_told(tiny):
    (tiny / "val" / WNIDS[0]).mkdir()
    assert problems_of(tiny) == [
        f"val has folder '{WNIDS[0]}' beside val/images; keep only one of them"
    ]


def test_strange_and_empty_folders_of_a_rearranged_val_are_told(tiny):
    rearrange_val(tiny.parent)
    (tiny / "val" / WNIDS[0]).rename(tiny / "val" / "n02124076")
    for image in (tiny / "val" / WNIDS[1] / "images").iterdir():
        image.unlink()
    assert problems_of(tiny) == [
        "val has folder 'n02124076', which is not in wnids.txt (did you mean 'n02124075'?)",
        f"val/{WNIDS[1]}/images is empty: a class needs images that end in .JPEG",
    ]


def test_damaged_images_are_told_together_with_structural_problems(tiny):
    (tiny / "train" / WNIDS[0] / "images" / f"{WNIDS[0]}_2.JPEG").write_bytes(b"no picture")
    (tiny / "val/images/val_4.JPEG").write_bytes(b"")
    (tiny / "train/n99999999").mkdir()
    problems = check_dataset("it", spec_of(tiny)).problems
    assert [problem.split(" ")[0] for problem in problems] == [
        "train",
        f"train/{WNIDS[0]}/images/{WNIDS[0]}_2.JPEG",
        "val/images/val_4.JPEG",
    ]


def test_files_that_are_no_images_are_left_out_with_a_word(tiny):
    folder = f"train/{WNIDS[0]}/images"
    (tiny / folder / "Thumbs.db").write_bytes(b"junk")
    (tiny / folder / ".DS_Store").write_bytes(b"junk")
    (tiny / "train/notes.txt").write_text("junk")
    report = check_dataset("it", spec_of(tiny))
    assert report.ok
    assert report.warnings[:2] == (
        f"train/notes.txt in dataset folder {tiny} is in no class: ignored",
        f"{folder}/Thumbs.db in dataset folder {tiny} does not end in .JPEG: ignored",
    )
