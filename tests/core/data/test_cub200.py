from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from mlfd_tune.core.data import DATASETS, DatasetSpec, check_dataset, load_dataset
from tests.helpers.broken import told_of
from tests.helpers.layouts_fine_grained import write_cub200

LISTS = ["images.txt", "image_class_labels.txt", "classes.txt", "train_test_split.txt"]


def spec_of(root: Path, **settings) -> DatasetSpec:
    return DatasetSpec(source="cub200", path=str(root), **settings)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return write_cub200(tmp_path / "set")


def problems_of(root: Path, split: str = "official") -> str:
    return told_of(spec_of(root, options={"split": split}))


def change(root: Path, name: str, line: int, text: str | None) -> str:
    """Put another text at a line of a list file, or none, and return the old one."""
    lines = (root / name).read_text().splitlines()
    old = lines[line - 1]
    lines[line - 1 : line] = [] if text is None else [text]
    (root / name).write_text("\n".join(lines) + "\n")
    return old


def first_image(root: Path) -> str:
    return (root / "images.txt").read_text().split()[1]


def test_the_paper_s_split_keeps_a_fifth_of_each_class_for_testing(root):
    assert set(DATASETS["cub200"]().load(spec_of(root)).splits) == {"train"}
    raw = load_dataset(spec_of(root))
    assert raw.classes == (
        "001.Black_footed_Albatross",
        "002.Laysan_Albatross",
        "003.Sooty_Albatross",
    )
    for name, count in {"train": 6, "val": 2, "test": 2}.items():
        assert [list(raw.splits[name].labels).count(label) for label in range(3)] == [count] * 3


def test_the_published_split_is_read_as_it_is(root):
    raw = DATASETS["cub200"]().load(spec_of(root, options={"split": "official"}))
    paths = dict(line.split() for line in (root / "images.txt").read_text().splitlines())
    trained = dict(
        line.split() for line in (root / "train_test_split.txt").read_text().splitlines()
    )
    for split, flag in (("train", "1"), ("test", "0")):
        names = tuple(f"images/{paths[number]}" for number in paths if trained[number] == flag)
        assert raw.splits[split].names == names
        for name, label in zip(names, raw.splits[split].labels, strict=True):
            assert raw.classes[label] == name.split("/")[1]
    assert raw.splits["train"].image(0).mode == "RGB"


def test_it_is_found_below_the_folder_it_is_unpacked_to(root, tmp_path):
    shutil.copytree(root, tmp_path / "above/CUB_200_2011")
    source = DATASETS["cub200"]()
    fingerprint = source.fingerprint(spec_of(root))
    assert source.fingerprint(spec_of(tmp_path / "above")) == fingerprint
    assert str(root) not in json.dumps(fingerprint)


def test_the_fingerprint_follows_images_and_the_lists_that_are_read(root):
    def sha(split):
        return DATASETS["cub200"]().fingerprint(spec_of(root, options={"split": split}))["sha256"]

    paper, official = sha("paper"), sha("official")
    change(root, "train_test_split.txt", 2, "2 0")
    assert sha("paper") == paper
    assert sha("official") != official
    (root / "images" / first_image(root)).write_bytes(b"other")
    assert sha("paper") != paper


def test_a_small_copy_is_sound_and_its_size_is_noted(root):
    for split, said in (("paper", "11,788"), ("official", "5,994")):
        report = check_dataset("birds", spec_of(root, options={"split": split}))
        assert report.ok
        assert said in "\n".join(report.warnings)


@pytest.mark.parametrize("name", [*LISTS, "images"])
def test_a_missing_file_or_folder_is_named(root, name):
    (root / name).rename(root / "gone")
    message = problems_of(root)
    assert f"{name} in dataset folder {root} is missing" in message
    assert "is it" not in message
    assert len(message.splitlines()) == 1


def test_the_paper_s_split_needs_no_published_one(root):
    (root / "train_test_split.txt").unlink()
    assert DATASETS["cub200"]().inspect(spec_of(root)).problems == ()


def test_an_empty_folder_lacks_everything(tmp_path):
    assert len(problems_of(tmp_path).splitlines()) == 5


@pytest.mark.parametrize("name", LISTS)
def test_a_malformed_row_is_named_by_its_line(root, name):
    change(root, name, 3, "3")
    message = problems_of(root)
    assert f"{name} line 3 in dataset folder {root}: '3' should be <" in message


@pytest.mark.parametrize("name", LISTS)
def test_an_id_that_is_no_number_or_stands_twice_is_named(root, name):
    change(root, name, 2, "1 again")
    change(root, name, 3, "x 1")
    message = problems_of(root)
    assert f"{name} line 2 in dataset folder {root}: " in message
    assert f"1 stands in {name} line 1 too" in message
    assert f"{name} line 3 in dataset folder {root}: " in message
    assert "'x' is no whole number" in message


def test_an_image_that_is_listed_but_missing_is_named(root):
    path = f"images/{first_image(root)}"
    (root / path).unlink()
    message = problems_of(root, "paper")
    assert f"{path} in dataset folder {root} is missing, but images.txt line 1 lists it" in message


@pytest.mark.parametrize(
    "path", ["../../secret.jpg", "001.Black_footed_Albatross/../../x.jpg", "/etc/passwd", "C:\\x"]
)
def test_a_path_that_leads_outside_is_refused(root, path):
    change(root, "images.txt", 1, f"1 {path}")
    message = problems_of(root)
    assert f"images.txt line 1 in dataset folder {root}: path {path!r} leads out" in message


def test_what_lists_say_is_checked_though_another_is_missing(root):
    (root / "classes.txt").unlink()
    change(root, "images.txt", 1, "1 ../x.jpg")
    change(root, "image_class_labels.txt", 1, "1")
    assert len(problems_of(root).splitlines()) == 3


def test_a_class_that_is_not_there_is_named(root):
    change(root, "image_class_labels.txt", 4, "4 9")
    message = problems_of(root)
    assert f"image_class_labels.txt line 4 in dataset folder {root}: class '9' is not in" in message
    assert "(allowed: 1, 2, 3" in message


def test_an_image_in_the_folder_of_another_class_is_named(root):
    change(root, "image_class_labels.txt", 1, "1 2")
    message = problems_of(root)
    assert f"image_class_labels.txt line 1 in dataset folder {root}: image 1 lies in" in message
    assert "'001.Black_footed_Albatross', but class 2 is '002.Laysan_Albatross'" in message


def test_lists_of_different_length_are_named_from_both_sides(root):
    change(root, "image_class_labels.txt", 30, None)
    change(root, "train_test_split.txt", 30, "31 1")
    message = problems_of(root)
    place = f"in dataset folder {root}"
    assert f"images.txt line 30 {place}: image 30 has no class in image_class_labels" in message
    assert f"images.txt line 30 {place}: image 30 is not in train_test_split" in message
    assert f"train_test_split.txt line 30 {place}: image 31 is not in images.txt" in message


def test_a_split_that_is_neither_one_nor_zero_is_named(root):
    change(root, "train_test_split.txt", 2, "2 test")
    message = problems_of(root)
    assert f"train_test_split.txt line 2 in dataset folder {root}: 'test' should be 1" in message


def test_a_class_without_images_and_one_named_twice_are_named(root):
    with (root / "classes.txt").open("a") as file:
        file.write("4 004.Groove_billed_Ani\n5 003.Sooty_Albatross\n")
    message = problems_of(root, "paper")
    assert f"class '004.Groove_billed_Ani' in dataset folder {root} has no training" in message
    assert f"classes.txt line 5 in dataset folder {root}: class '003.Sooty_Albatross'" in message


def test_an_image_listed_twice_is_named(root):
    change(root, "images.txt", 4, f"4 {first_image(root)}")
    message = problems_of(root)
    assert f"images.txt line 4 in dataset folder {root}: images/{first_image(root)}" in message
    assert "stands in images.txt line 1 too" in message


def test_one_class_is_not_enough(tmp_path):
    root = write_cub200(tmp_path / "one", classes=1)
    assert "has one class only ('001.Black_footed_Albatross')" in problems_of(root)


def test_a_file_that_is_no_text_or_has_no_rows_is_named(root):
    (root / "images.txt").write_bytes(b"\xff\xfe\x00")
    (root / "classes.txt").write_text("\n")
    message = problems_of(root)
    assert f"images.txt in dataset folder {root} cannot be read as text" in message
    assert f"classes.txt in dataset folder {root} has no rows" in message


def test_an_unreadable_image_is_named_on_opening(root):
    path = root / "images" / first_image(root)
    path.write_bytes(path.read_bytes()[:-300])
    (problem,) = check_dataset("birds", spec_of(root)).problems
    assert f"images/{first_image(root)} in dataset folder {root} is a damaged image" in problem
