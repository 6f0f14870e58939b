from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from mlfd_tune.core.data import DATASETS, DatasetSpec, check_dataset, load_dataset
from tests.helpers.broken import told_of
from tests.helpers.layouts_fine_grained import write_caltech101

IMAGES = "101_ObjectCategories"


def spec_of(root: Path, **settings) -> DatasetSpec:
    return DatasetSpec(source="caltech101", path=str(root), **settings)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return write_caltech101(tmp_path / "set")


def problems_of(root: Path, **options) -> str:
    return told_of(spec_of(root, options=options))


def test_folders_are_classes_and_a_fifth_of_each_is_kept_for_testing(root):
    raw = load_dataset(spec_of(root))
    assert raw.classes == ("BACKGROUND_Google", "Faces", "Faces_easy")
    for name, count in {"train": 6, "val": 2, "test": 2}.items():
        assert [list(raw.splits[name].labels).count(label) for label in range(3)] == [count] * 3
    assert raw.splits["test"].name(0).startswith(f"{IMAGES}/BACKGROUND_Google/image_00")
    assert raw.splits["train"].image(0).mode == "RGB"


def test_the_background_can_be_left_out(root):
    raw = DATASETS["caltech101"]().load(spec_of(root, options={"background": False}))
    assert raw.classes == ("Faces", "Faces_easy")
    assert not any("BACKGROUND" in name for name in raw.splits["train"].names)


@pytest.mark.parametrize("folder", ["caltech-101", "caltech101"])
def test_it_is_found_below_the_folders_it_is_unpacked_to(root, tmp_path, folder):
    shutil.copytree(root, tmp_path / "above" / folder)
    source = DATASETS["caltech101"]()
    above = spec_of(tmp_path / "above")
    assert (
        source.load(above).splits["train"].names == source.load(spec_of(root)).splits["train"].names
    )
    assert source.fingerprint(above) == source.fingerprint(spec_of(root))


def test_the_fingerprint_follows_images_and_names_no_path(root):
    source = DATASETS["caltech101"]()
    before = source.fingerprint(spec_of(root))
    assert before["version"] == 1
    assert str(root) not in json.dumps(before)
    (root / IMAGES / "Faces/tmp").write_text("junk")
    assert source.fingerprint(spec_of(root)) == before
    faces = root / IMAGES / "Faces"
    shutil.copy(faces / "image_0002.jpg", faces / "image_0001.jpg")
    assert source.fingerprint(spec_of(root)) != before


def test_a_small_copy_is_sound_and_its_size_is_noted(root):
    report = check_dataset("objects", spec_of(root))
    assert report.ok
    notes = "\n".join(report.warnings)
    assert "9,144" in notes
    assert "102" in notes
    other = check_dataset("objects", spec_of(root, options={"background": False}))
    assert "8,677" in "\n".join(other.warnings)
    assert "101" in "\n".join(other.warnings)


def test_what_is_no_image_and_a_missing_background_are_noted(root):
    (root / IMAGES / "Faces/tmp").write_text("junk")
    (root / IMAGES / "README").write_text("hello")
    shutil.rmtree(root / IMAGES / "BACKGROUND_Google")
    found = DATASETS["caltech101"]().inspect(spec_of(root))
    assert found.problems == ()
    notes = "\n".join(found.warnings)
    assert f"{IMAGES} in dataset folder {root} holds 2" in notes
    assert "README, Faces/tmp" in notes
    assert f"{IMAGES}/BACKGROUND_Google in dataset folder {root} is missing" in notes


def test_a_missing_folder_suggests_what_may_be_meant(root):
    (root / IMAGES).rename(root / "101_objectcategories")
    message = problems_of(root)
    assert f"{IMAGES} in dataset folder {root} is missing" in message
    assert "is it '101_objectcategories'?" in message
    assert "data.caltech.edu" in message


def test_an_archive_inside_the_archive_is_to_be_unpacked(root):
    (root / "caltech-101").mkdir()
    shutil.rmtree(root / IMAGES)
    (root / "caltech-101/101_ObjectCategories.tar.gz").write_bytes(b"packed")
    message = problems_of(root)
    assert f"{IMAGES} in dataset folder {root / 'caltech-101'} is missing" in message
    assert "unpack 101_ObjectCategories.tar.gz" in message


def test_an_empty_class_is_named(root):
    (root / IMAGES / "Garfield").mkdir()
    assert f"class 'Garfield' in dataset folder {root} has no training image" in problems_of(root)


def test_a_folder_in_a_class_is_named(root):
    (root / IMAGES / "Faces/more").mkdir()
    message = problems_of(root)
    assert f"{IMAGES}/Faces/more in dataset folder {root} is a folder" in message


def test_a_folder_too_deep_is_named(root):
    (root / IMAGES).rename(root / "moved")
    (root / IMAGES).mkdir()
    (root / "moved").rename(root / IMAGES / IMAGES)
    message = problems_of(root)
    assert f"{IMAGES}/{IMAGES} in dataset folder {root} is one folder too deep" in message


def test_no_class_and_one_class_are_not_enough(root):
    for name in ("Faces", "Faces_easy"):
        shutil.rmtree(root / IMAGES / name)
    assert "has one class only ('BACKGROUND_Google')" in problems_of(root)
    assert f"{IMAGES} in dataset folder {root} has no class folder" in problems_of(
        root, background=False
    )


def test_all_problems_come_at_once(root):
    (root / IMAGES / "Garfield").mkdir()
    (root / IMAGES / "Faces/more").mkdir()
    (root / IMAGES / "Faces_easy/more").mkdir()
    assert len(problems_of(root).splitlines()) == 3


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (lambda path: path.write_text("not a picture"), "is not an image that can be read"),
        (lambda path: path.write_bytes(path.read_bytes()[:-300]), "is a damaged image"),
    ],
)
def test_an_image_that_is_unreadable_is_named_on_opening(root, damage, said):
    damage(root / IMAGES / "Faces/image_0003.jpg")
    (problem,) = check_dataset("objects", spec_of(root)).problems
    assert f"{IMAGES}/Faces/image_0003.jpg in dataset folder {root} {said}" in problem


def test_an_unknown_option_is_refused(root):
    with pytest.raises(ValueError, match="did you mean 'background'"):
        spec_of(root, options={"backgrund": False})
