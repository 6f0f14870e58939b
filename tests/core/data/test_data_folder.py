from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from mlfd_tune.core.data import DATASETS, DatasetSpec, load_dataset
from mlfd_tune.core.errors import UserError
from tests.helpers.folders import write_folder_dataset


def spec_of(root: Path, **settings) -> DatasetSpec:
    return DatasetSpec(source="folder", path=str(root), **settings)


@pytest.fixture
def pets(tmp_path: Path) -> Path:
    """Two classes, called cat and dog, with 4 training images and 1 test image each."""
    root = write_folder_dataset(tmp_path / "pets", "digits", 2, per_class=4, test_per_class=1)
    for split in ("train", "test"):
        (root / split / "0").rename(root / split / "cat")
        (root / split / "1").rename(root / split / "dog")
    return root


def problems_of(root: Path) -> str:
    with pytest.raises(UserError) as caught:
        load_dataset(spec_of(root))
    return str(caught.value)


@pytest.mark.parametrize("suffix", ["png", "jpg", "webp", "bmp"])
def test_a_folder_in_any_format_gives_back_its_pictures(tmp_path, suffix):
    write_folder_dataset(tmp_path, "photos", 3, per_class=4, test_per_class=2, suffix=suffix)
    raw = load_dataset(spec_of(tmp_path))
    original = DATASETS["photos"]().load(DatasetSpec(source="photos"))
    assert raw.classes == original.classes[:3]
    assert {name: len(split) for name, split in raw.splits.items()} == {
        "train": 9,
        "val": 3,
        "test": 6,
    }
    read = np.asarray(raw.splits["test"].image(0), dtype=float)
    written = np.asarray(original.splits["test"].image(0), dtype=float)
    assert np.abs(read - written).mean() < (0.01 if suffix in {"png", "bmp"} else 12)


def test_images_come_in_sorted_order_and_hidden_files_do_not_count(pets):
    (pets / "train/cat/.DS_Store").write_text("junk")
    (pets / "train/.cache").mkdir()
    raw = DATASETS["folder"]().load(spec_of(pets))
    assert raw.classes == ("cat", "dog")
    assert raw.splits["train"].names == tuple(sorted(raw.splits["train"].names))
    assert raw.splits["train"].name(0) == "train/cat/0000.png"
    np.testing.assert_array_equal(raw.splits["train"].labels, [0] * 4 + [1] * 4)


def test_without_test_a_share_of_train_is_kept_for_it(tmp_path):
    write_folder_dataset(tmp_path, "digits", 2, per_class=20)
    splits = load_dataset(spec_of(tmp_path, test_fraction=0.25)).splits
    sizes = {name: len(split) for name, split in splits.items()}
    assert sizes == {"train": 24, "val": 6, "test": 10}


def test_a_shipped_val_is_used(pets):
    (pets / "test").rename(pets / "val")
    splits = load_dataset(spec_of(pets)).splits
    assert splits["val"].names == ("val/cat/0000.png", "val/dog/0000.png")


def test_the_fingerprint_follows_content_and_ignores_hidden_files(pets):
    folder = DATASETS["folder"]()
    before = folder.fingerprint(spec_of(pets))
    (pets / "train/cat/.hidden").write_text("junk")
    assert folder.fingerprint(spec_of(pets)) == before
    Image.new("L", (8, 8), 3).save(pets / "train/cat/0000.png")
    assert folder.fingerprint(spec_of(pets)) != before
    assert str(pets) not in str(before)


def test_a_missing_folder_suggests_its_neighbour(pets):
    assert "does not exist (did you mean" in problems_of(pets.parent / "pest")


def test_a_file_is_no_folder(pets):
    assert "is a file, not a folder" in problems_of(pets / "train/cat/0000.png")


def test_a_missing_train_suggests_what_may_be_meant(pets):
    (pets / "train").rename(pets / "Training")
    message = problems_of(pets)
    assert "no folder 'train' (found: Training, test; is it 'Training'?)" in message
    assert str(pets) in message


def test_train_without_class_folders_is_an_error(pets):
    flat = pets.parent / "flat"
    (flat / "train").mkdir(parents=True)
    (pets / "train/cat/0000.png").rename(flat / "train/0000.png")
    assert "has no class folder" in problems_of(flat)


def test_one_class_is_not_enough(tmp_path):
    write_folder_dataset(tmp_path, "digits", 1, per_class=3, test_per_class=1)
    assert "has one class only ('0')" in problems_of(tmp_path)


def test_all_structural_problems_come_at_once(pets):
    (pets / "train/bird").mkdir()
    (pets / "train/cat/more").mkdir()
    (pets / "test/dgo").mkdir()
    (pets / "val").mkdir()
    message = problems_of(pets)
    assert f"train/bird in dataset folder {pets} is empty" in message
    assert "train/cat/more" in message
    assert "test/dgo" in message
    assert "did you mean 'dog'?" in message
    assert f"val in dataset folder {pets} has no images" in message


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (lambda path: path.write_text("not a picture"), "is not an image that can be read"),
        (lambda path: path.write_bytes(b""), "is an empty file, not an image"),
        (lambda path: path.write_bytes(path.read_bytes()[:-60]), "is a damaged image"),
    ],
)
def test_a_file_that_is_no_sound_image_is_named(pets, damage, said):
    damage(pets / "train/cat/0002.png")
    train = DATASETS["folder"]().load(spec_of(pets)).splits["train"]
    with pytest.raises(UserError) as caught:
        train.image(2)
    assert str(caught.value).startswith(f"train/cat/0002.png in dataset folder {pets}")
    assert said in str(caught.value)
