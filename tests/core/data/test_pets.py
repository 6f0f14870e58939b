from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from mlfd_tune.core.data import DATASETS, DatasetSpec, check_dataset, load_dataset
from tests.helpers.broken import told_of
from tests.helpers.layouts_fine_grained import write_pets

TRAINVAL, TEST = "annotations/trainval.txt", "annotations/test.txt"


def spec_of(root: Path, **settings) -> DatasetSpec:
    return DatasetSpec(source="pets", path=str(root), **settings)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return write_pets(tmp_path / "set")


def problems_of(root: Path, split: str = "paper") -> str:
    return told_of(spec_of(root, options={"split": split}))


def change(root: Path, name: str, line: int, text: str) -> None:
    lines = (root / name).read_text().splitlines()
    lines[line - 1] = text
    (root / name).write_text("\n".join(lines) + "\n")


def test_the_paper_s_split_divides_all_listed_images(root):
    raw = load_dataset(spec_of(root))
    assert raw.classes == ("Abyssinian", "american_bulldog", "american_pit_bull_terrier")
    for name, count in {"train": 6, "val": 2, "test": 2}.items():
        assert [list(raw.splits[name].labels).count(label) for label in range(3)] == [count] * 3
        for image, label in zip(raw.splits[name].names, raw.splits[name].labels, strict=True):
            assert image.startswith(f"images/{raw.classes[label]}_")
    assert raw.splits["train"].image(0).mode == "RGB"


def test_the_published_split_is_read_as_it_is(root):
    raw = DATASETS["pets"]().load(spec_of(root, options={"split": "official"}))
    for split, name in (("train", TRAINVAL), ("test", TEST)):
        listed = [line.split()[0] for line in (root / name).read_text().splitlines()]
        assert raw.splits[split].names == tuple(f"images/{image}.jpg" for image in listed)


def test_comments_count_as_lines_but_not_as_rows(root):
    text = (root / TRAINVAL).read_text()
    before = DATASETS["pets"]().load(spec_of(root)).splits["train"].names
    (root / TRAINVAL).write_text(f"#Image CLASS-ID SPECIES BREED ID\n\n{text}\nAbyssinian_9\n")
    assert f"{TRAINVAL} line 19 in dataset folder {root}" in problems_of(root)
    (root / TRAINVAL).write_text(f"#Image CLASS-ID SPECIES BREED ID\n\n{text}")
    assert DATASETS["pets"]().load(spec_of(root)).splits["train"].names == before


def test_classes_keep_the_order_of_their_ids_in_a_copy_of_some_of_them(root):
    for name in (TRAINVAL, TEST):
        rows = [line.split() for line in (root / name).read_text().splitlines()]
        ids = {"1": "30", "2": "7", "3": "37"}
        (root / name).write_text("".join(f"{row[0]} {ids[row[1]]} 1 1\n" for row in rows))
    raw = DATASETS["pets"]().load(spec_of(root))
    assert raw.classes == ("american_bulldog", "Abyssinian", "american_pit_bull_terrier")


def test_it_is_found_below_the_folder_it_is_kept_in(root, tmp_path):
    shutil.copytree(root, tmp_path / "above/oxford-iiit-pet")
    source = DATASETS["pets"]()
    fingerprint = source.fingerprint(spec_of(root))
    assert source.fingerprint(spec_of(tmp_path / "above")) == fingerprint
    assert str(root) not in json.dumps(fingerprint)


def test_the_fingerprint_follows_images_and_lists_but_not_what_is_in_none(root):
    def sha():
        return DATASETS["pets"]().fingerprint(spec_of(root))["sha256"]

    before = sha()
    (root / "images/Abyssinian_100.mat").write_bytes(b"other")
    (root / "images/Abyssinian_999.jpg").write_bytes(b"in no list")
    assert sha() == before
    shutil.copy(root / "images/Abyssinian_2.jpg", root / "images/Abyssinian_1.jpg")
    assert sha() != before


def test_a_small_copy_is_sound_and_its_size_is_noted(root):
    for split, said in (("paper", "7,349"), ("official", "3,680")):
        report = check_dataset("pets", spec_of(root, options={"split": split}))
        assert report.ok
        assert said in "\n".join(report.warnings)


@pytest.mark.parametrize("name", [TRAINVAL, TEST, "images"])
def test_a_missing_file_or_folder_is_named(root, name):
    (root / name).rename(root / "gone")
    message = problems_of(root)
    assert f"{name} in dataset folder {root} is missing" in message
    assert "https://www.robots.ox.ac.uk/~vgg/data/pets/" in message
    assert len(message.splitlines()) == 1


def test_annotations_that_are_still_packed_are_to_be_unpacked(root):
    shutil.rmtree(root / "annotations")
    (root / "annotations.tar.gz").write_bytes(b"packed")
    message = problems_of(root)
    for name in (TRAINVAL, TEST):
        assert f"{name} in dataset folder {root} is missing; unpack annotations.tar.gz" in message


@pytest.mark.parametrize(
    ("row", "said"),
    [
        ("Abyssinian_1 1 1", "'Abyssinian_1 1 1' should be <name> <class id> <species> <breed id>"),
        ("Abyssinian 1 1 1", "name 'Abyssinian' should be <breed>_<number>"),
        ("Abyssinian_1 38 1 1", "class id '38' of Abyssinian_1 is not possible (allowed: 1 to 37)"),
        ("Abyssinian_1 0 1 1", "class id '0' of Abyssinian_1 is not possible (allowed: 1 to 37)"),
        ("Abyssinian_1 cat 1 1", "class id 'cat' of Abyssinian_1 is not possible"),
        ("../Abyssinian_1 1 1 1", "path '../Abyssinian_1' leads out of the dataset"),
        ("/tmp/Abyssinian_1 1 1 1", "path '/tmp/Abyssinian_1' leads out of the dataset"),
        ("more/Abyssinian_1 1 1 1", "name 'more/Abyssinian_1' should be <breed>_<number>"),
    ],
)
def test_a_row_that_cannot_be_is_named_by_its_line(root, row, said):
    change(root, TRAINVAL, 1, row)
    message = problems_of(root)
    assert f"{TRAINVAL} line 1 in dataset folder {root}: {said}" in message


def test_a_class_id_that_does_not_suit_the_breed_is_named(root):
    change(root, TRAINVAL, 4, "Abyssinian_2 2 1 1")
    change(root, TEST, 1, "Abyssinian_6 9 1 1")
    message = problems_of(root)
    assert (
        f"{TRAINVAL} line 4 in dataset folder {root}: class id 2 is 'american_bulldog'" in message
    )
    assert f"{TEST} line 1 in dataset folder {root}: 'Abyssinian' has class id 1" in message


def test_an_image_that_is_listed_but_missing_is_named(root):
    (root / "images/Abyssinian_1.jpg").unlink()
    message = problems_of(root)
    assert f"images/Abyssinian_1.jpg in dataset folder {root} is missing, but {TRAINVAL}" in message
    assert "line 1 lists it" in message


@pytest.mark.parametrize("split", ["paper", "official"])
def test_an_image_in_two_splits_is_named(root, split):
    change(root, TEST, 1, "Abyssinian_1 1 1 1")
    message = problems_of(root, split)
    assert f"{TEST} line 1 in dataset folder {root}: images/Abyssinian_1.jpg stands" in message
    assert f"in {TRAINVAL} line 1 too" in message


def test_a_breed_that_is_only_tested_is_named(root):
    (root / "images/Bengal_1.jpg").write_bytes((root / "images/Abyssinian_1.jpg").read_bytes())
    with (root / TEST).open("a") as file:
        file.write("Bengal_1 6 1 2\n")
    message = problems_of(root, "official")
    assert f"class 'Bengal' in dataset folder {root} has no training image" in message
    assert DATASETS["pets"]().inspect(spec_of(root)).problems == ()


def test_images_one_folder_too_deep_are_named(root):
    (root / "images").rename(root / "moved")
    (root / "images").mkdir()
    (root / "moved").rename(root / "images/images")
    assert f"images/images in dataset folder {root} is one folder too deep" in problems_of(root)


def test_one_breed_is_not_enough(tmp_path):
    assert "has one class only ('Abyssinian')" in problems_of(write_pets(tmp_path / "a", 1))


def test_all_problems_come_at_once(root):
    change(root, TRAINVAL, 1, "Abyssinian_1 1 1")
    change(root, TRAINVAL, 2, "american_bulldog_1 40 2 1")
    change(root, TEST, 1, "../x_1 1 1 1")
    (root / "images/Abyssinian_7.jpg").unlink()
    assert len(problems_of(root).splitlines()) == 4


def test_an_unreadable_image_is_named_on_opening(root):
    (root / "images/Abyssinian_3.jpg").write_text("not a picture")
    (problem,) = check_dataset("pets", spec_of(root)).problems
    assert f"images/Abyssinian_3.jpg in dataset folder {root} is not an image" in problem
