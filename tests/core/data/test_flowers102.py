from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from scipy.io import loadmat, savemat

from mlfd_tune.core.data import DATASETS, DatasetSpec, check_dataset, load_dataset
from tests.helpers.broken import told_of
from tests.helpers.layouts_fine_grained import write_flowers102, write_ids, write_labels

LABELS = [1, 2, 3] * 12  # as the helper writes them: 36 images, the classes taking turns


def spec_of(root: Path, **settings) -> DatasetSpec:
    return DatasetSpec(source="flowers102", path=str(root), **settings)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return write_flowers102(tmp_path / "set")


def problems_of(root: Path, **options) -> str:
    return told_of(spec_of(root, options=options))


def ids_of(root: Path) -> dict[str, list[int]]:
    return {
        key: value.ravel().tolist()
        for key, value in loadmat(root / "setid.mat").items()
        if not key.startswith("__")
    }


def names(ids: list[int]) -> tuple[str, ...]:
    return tuple(f"jpg/image_{number:05d}.jpg" for number in ids)


def test_the_paper_s_split_trains_on_train_and_test_and_tests_on_val(root):
    ids = ids_of(root)
    raw = DATASETS["flowers102"]().load(spec_of(root))
    assert raw.classes == ("001", "002", "003")
    assert raw.splits["train"].names == names(ids["trnid"] + ids["tstid"])
    assert raw.splits["test"].names == names(ids["valid"])
    assert raw.splits["train"].labels.tolist() == [
        LABELS[number - 1] - 1 for number in ids["trnid"] + ids["tstid"]
    ]
    assert raw.splits["train"].image(0).mode == "RGB"


def test_the_published_split_is_read_as_it_is(root):
    ids = ids_of(root)
    raw = load_dataset(spec_of(root, options={"split": "official"}))
    assert {split: images.names for split, images in raw.splits.items()} == {
        "train": names(ids["trnid"]),
        "val": names(ids["valid"]),
        "test": names(ids["tstid"]),
    }


def test_it_is_found_below_the_folder_it_is_unpacked_to(root, tmp_path):
    shutil.copytree(root, tmp_path / "above/flowers-102")
    source = DATASETS["flowers102"]()
    fingerprint = source.fingerprint(spec_of(root))
    assert source.fingerprint(spec_of(tmp_path / "above")) == fingerprint
    assert str(root) not in json.dumps(fingerprint)


def test_the_fingerprint_follows_images_and_list_files(root):
    source = DATASETS["flowers102"]()
    seen = [source.fingerprint(spec_of(root))["sha256"]]
    (root / "jpg/image_99999.jpg").write_text("in no list")
    assert source.fingerprint(spec_of(root))["sha256"] == seen[0]
    shutil.copy(root / "jpg/image_00002.jpg", root / "jpg/image_00001.jpg")
    seen.append(source.fingerprint(spec_of(root))["sha256"])
    write_labels(root, [2, 1, 3, *LABELS[3:]])
    seen.append(source.fingerprint(spec_of(root))["sha256"])
    ids = ids_of(root)
    write_ids(root, **ids | {"trnid": ids["valid"], "valid": ids["trnid"]})
    seen.append(source.fingerprint(spec_of(root))["sha256"])
    assert len(set(seen)) == 4


def test_a_small_copy_is_sound_and_its_size_is_noted(root):
    for split, said in (("paper", "8,189"), ("official", "6,149")):
        report = check_dataset("flowers", spec_of(root, options={"split": split}))
        assert report.ok
        assert said in "\n".join(report.warnings)


def test_classes_keep_their_numbers_in_a_copy_of_some_of_them(root):
    write_labels(root, [{1: 5, 2: 77, 3: 102}[label] for label in LABELS])
    raw = DATASETS["flowers102"]().load(spec_of(root))
    assert raw.classes == ("005", "077", "102")
    assert set(raw.splits["train"].labels.tolist()) == {0, 1, 2}


def test_images_in_no_split_are_noted(root):
    ids = ids_of(root)
    write_ids(root, **ids | {"tstid": ids["tstid"][:-2]})
    found = DATASETS["flowers102"]().inspect(spec_of(root))
    assert found.problems == ()
    assert f"setid.mat in dataset folder {root} puts 2 of the 36" in found.warnings[0]


@pytest.mark.parametrize("name", ["imagelabels.mat", "setid.mat", "jpg"])
def test_a_missing_file_or_folder_is_named(root, name):
    (root / name).rename(root / "gone")
    message = problems_of(root)
    assert f"{name} in dataset folder {root} is missing" in message
    assert "https://www.robots.ox.ac.uk/~vgg/data/flowers/102/" in message
    assert len(message.splitlines()) == 1


def test_an_archive_that_is_still_packed_is_to_be_unpacked(root):
    shutil.rmtree(root / "jpg")
    (root / "102flowers.tgz").write_bytes(b"packed")
    assert "jpg in dataset folder" in problems_of(root)
    assert "unpack 102flowers.tgz" in problems_of(root)


@pytest.mark.parametrize("name", ["imagelabels.mat", "setid.mat"])
@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (lambda content: content[:-1], "it is cut short"),
        (lambda content: content[:133], "it is cut short"),
        (lambda content: content[:-5] + b"hello", "no sound MATLAB 5 file: "),
        (lambda content: content[:128], "has no variable"),
        (lambda content: b"", "it does not begin as one"),
        (lambda content: b"<html>not found</html>" * 20, "it does not begin as one"),
    ],
)
def test_a_damaged_matlab_file_is_named(root, name, damage, said):
    (root / name).write_bytes(damage((root / name).read_bytes()))
    message = problems_of(root)
    assert message.startswith(f"{name} in dataset folder {root} ")
    assert said in message


def test_a_variable_that_is_missing_or_no_number_is_named(root):
    savemat(root / "imagelabels.mat", {"label": np.array([LABELS])})
    ids = ids_of(root)
    savemat(root / "setid.mat", {"trnid": ids["trnid"], "tstid": "text", "valid": [[1, np.inf]]})
    message = problems_of(root)
    assert f"imagelabels.mat in dataset folder {root} has no variable 'labels'" in message
    for name in ("tstid", "valid"):
        assert (
            f"setid.mat in dataset folder {root}: variable {name!r} holds what is no whole number"
            in message
        )


def test_a_label_out_of_range_is_named(root):
    write_labels(root, [0, 103, *LABELS[2:]])
    message = problems_of(root)
    for number, label in ((1, 0), (2, 103)):
        said = f"imagelabels.mat in dataset folder {root}: image {number} has label {label}"
        assert f"{said} (allowed: 1 to 102)" in message


def test_ids_without_a_label_are_named(root):
    write_labels(root, LABELS[:-1])
    message = problems_of(root)
    assert f"setid.mat in dataset folder {root}: tstid has image 36" in message
    assert "imagelabels.mat has 35 labels" in message


@pytest.mark.parametrize("split", ["paper", "official"])
def test_an_image_in_two_splits_is_named(root, split):
    ids = ids_of(root)
    write_ids(root, **ids | {"valid": [*ids["valid"], ids["trnid"][0]]})
    message = problems_of(root, split=split)
    assert f"setid.mat valid in dataset folder {root}: jpg/image_00001.jpg stands in" in message
    assert "setid.mat trnid too" in message


def test_missing_images_are_named(root):
    (root / "jpg/image_00003.jpg").unlink()
    (root / "jpg/image_00004.jpg").unlink()
    (root / "jpg/image_00004.jpg").mkdir()
    message = problems_of(root)
    assert f"jpg/image_00003.jpg in dataset folder {root} is missing, but setid.mat" in message
    assert f"jpg/image_00004.jpg in dataset folder {root} is a folder" in message


def test_many_missing_images_are_counted(root):
    for path in (root / "jpg").iterdir():
        path.unlink()
    lines = problems_of(root).splitlines()
    assert len(lines) < 36
    assert "more problems" in lines[-1]


def test_a_folder_too_deep_is_named(root):
    (root / "jpg").rename(root / "moved")
    (root / "jpg").mkdir()
    (root / "moved").rename(root / "jpg/jpg")
    assert f"jpg/jpg in dataset folder {root} is one folder too deep" in problems_of(root)


def test_a_class_without_training_images_and_an_empty_split_are_named(root):
    ids = ids_of(root)
    write_ids(root, **ids | {"trnid": [n for n in ids["trnid"] if LABELS[n - 1] != 2], "tstid": []})
    message = problems_of(root, split="official")
    assert f"class '002' in dataset folder {root} has no training image" in message
    assert f"the test split in dataset folder {root} has no images" in message


def test_one_class_is_not_enough(root):
    write_labels(root, [1] * 36)
    assert "has one class only ('001')" in problems_of(root)


def test_an_unreadable_image_is_named_on_opening(root):
    (root / "jpg/image_00005.jpg").write_text("not a picture")
    (problem,) = check_dataset("flowers", spec_of(root)).problems
    assert f"jpg/image_00005.jpg in dataset folder {root} is not an image" in problem


def test_an_unknown_split_is_refused(root):
    with pytest.raises(ValueError, match=r"options\.split: .*'paper' or 'official'"):
        spec_of(root, options={"split": "papr"})
