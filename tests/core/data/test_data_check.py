from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from PIL import Image

from mlfd_tune.core.data import DATASETS, DatasetSpec, check_dataset, list_datasets
from tests.helpers.folders import write_folder_dataset
from tests.helpers.layouts_cifar import write_cifar10


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return write_folder_dataset(tmp_path / "set", "digits", 2, per_class=10, test_per_class=2)


def check(root: Path, **settings):
    return check_dataset("mine", DatasetSpec(source="folder", path=str(root), **settings))


def test_a_sound_folder_is_counted_and_has_nothing_to_say(root):
    report = check(root)
    assert report.ok
    assert report.warnings == ()
    assert report.classes == ("0", "1")
    assert report.counts == {
        "train": {"0": 8, "1": 8},
        "val": {"0": 2, "1": 2},
        "test": {"0": 2, "1": 2},
    }


@pytest.mark.parametrize("source", ["digits", "photos"])
def test_built_ins_are_sound_and_leak_nothing_into_their_tests(source):
    report = check_dataset(source, DatasetSpec(source=source))
    assert report.ok
    assert report.warnings == ()


def test_every_unreadable_file_is_listed_beside_structural_problems(root):
    for name in ("train/0/0001.png", "train/1/0003.png", "test/1/0000.png"):
        (root / name).write_text("not a picture")
    (root / "train/empty").mkdir()
    problems = "\n".join(check(root).problems)
    for name in ("train/0/0001.png", "train/1/0003.png", "test/1/0000.png", "train/empty"):
        assert f"{name} in dataset folder {root}" in problems
    assert len(problems.splitlines()) == 4


def test_files_left_out_by_train_size_are_checked_too(root):
    for path in (root / "train/0").iterdir():
        path.write_text("not a picture")
    assert len(check(root, train_size=2).problems) == 10


def test_a_missing_folder_is_a_problem_and_no_exception(tmp_path):
    report = check(tmp_path / "nowhere")
    assert not report.ok
    assert report.counts == {}


def test_a_training_picture_in_the_test_split_is_noted_even_in_another_format(root):
    twin = root / "test/0/copy.bmp"
    Image.open(root / "train/0/0004.png").save(twin)
    (note,) = check(root).warnings
    assert note.startswith("1 image of test also in ")
    assert "test/0/copy.bmp is train/0/0004.png" in note


def test_imbalance_absent_classes_and_stray_files_are_noted(root):
    for path in sorted((root / "train/1").iterdir())[2:]:
        path.unlink()
    shutil.rmtree(root / "test/1")
    (root / "train/notes.txt").write_text("hello")
    notes = "\n".join(check(root).warnings)
    assert "train/notes.txt" in notes
    assert "test has no image of 1 class: 1" in notes
    assert "2 test" not in notes
    assert "unbalanced" not in notes  # 8 to 1 is still under the bar
    for number in range(10, 16):
        shutil.copy(root / "train/0/0000.png", root / f"train/0/{number:04d}.png")
    assert "unbalanced: 13 training images of '0', 1 of '1'" in "\n".join(check(root).warnings)


def test_sizes_that_do_not_fit_are_a_problem(root):
    assert "train_size 99 is not possible" in check(root, train_size=99).problems[0]


def test_progress_reaches_the_end(root):
    seen = []
    spec = DatasetSpec(source="folder", path=str(root))
    check_dataset("mine", spec, lambda done, total: seen.append((done, total)))
    assert seen[-1] == (24, 24)


def test_images_are_summed_up_by_size_and_colour(root):
    Image.new("RGB", (20, 5), "red").save(root / "train/0/wide.png")
    Image.new("RGB", (8, 8), (7, 7, 7)).save(root / "train/1/grey.jpg")
    images = check(root).images
    assert (images.sizes, images.min_side, images.median_side, images.max_side) == (2, 5, 8.0, 20)
    assert (images.colour, images.grey) == (1, 25)
    assert check(root / "none").images is None


def test_the_same_picture_twice_in_one_split_is_noted(root):
    shutil.copy(root / "test/0/0000.png", root / "test/0/again.png")
    shutil.copy(root / "test/0/0001.png", root / "test/0/more.png")
    assert check(root).warnings == (
        "2 images of test also elsewhere in test: test/0/again.png is test/0/0000.png",
    )


def test_the_same_picture_in_two_classes_is_noted_apart(root):
    shutil.copy(root / "test/0/0000.png", root / "test/1/again.png")
    (note,) = check(root).warnings
    assert note == (
        "1 image of test also in another class of it: test/1/again.png (1) is test/0/0000.png (0)"
    )


def test_a_class_of_a_single_training_image_is_noted(root):
    for path in sorted((root / "train/1").iterdir())[1:]:
        path.unlink()
    assert "train has a single image of 1 class: 1" in check(root).warnings


def test_only_the_classes_kept_are_checked_and_in_their_order(root):
    write_folder_dataset(root, "digits", 3, per_class=10, test_per_class=2)
    (root / "train/0/0001.png").write_text("not a picture")
    report = check(root, classes=("2", "1"))
    assert report.ok
    assert report.classes == ("2", "1")
    assert report.counts["test"] == {"2": 2, "1": 2}
    report = check(root, classes=("2", "eleven"))
    assert "unknown class 'eleven' (allowed: 0, 1, 2" in report.problems[0]
    assert report.counts == {}


def test_images_are_checked_in_their_style(tmp_path):
    write_folder_dataset(tmp_path, "photos", ["cat", "coffee"], per_class=10, test_per_class=2)
    assert check(tmp_path).images.colour == 24
    assert check(tmp_path, style="grey").images.grey == 24


def test_a_published_dataset_is_compared_with_the_whole(tmp_path):
    write_cifar10(tmp_path)
    report = check_dataset("small", DatasetSpec(source="cifar10", path=str(tmp_path)))
    assert report.ok
    assert "100 training images; the published dataset has 50,000" in report.warnings


def test_the_list_has_a_row_for_every_source():
    rows = {row.name: row for row in list_datasets()}
    assert set(rows) == set(DATASETS)
    assert (rows["letters"].classes, rows["letters"].test_images) == (26, 780)
    assert rows["photos"].flip
    assert not rows["digits"].flip
    assert rows["folder"].classes is None
    assert (rows["folder"].path, rows["digits"].path) == ("required", "none")
    assert all(row.problem is None for row in rows.values())


def test_published_datasets_are_listed_with_what_they_hold_when_whole():
    rows = {row.name: row for row in list_datasets()}
    cifar, flowers = rows["cifar100"], rows["flowers102"]
    assert (cifar.classes, cifar.train_images, cifar.test_images) == (100, 50_000, 10_000)
    assert cifar.val_images is None
    assert flowers.val_images == 1020
