from __future__ import annotations

import json

import numpy as np
import pytest
from PIL import Image

from mlfd_tune.core.data import (
    DATASETS,
    DatasetSpec,
    PackedDataset,
    load_dataset,
    pack,
    packed_bytes,
)
from mlfd_tune.core.data.decode import to_square
from mlfd_tune.core.errors import UserError
from tests.helpers.folders import write_folder_dataset

SPEC = DatasetSpec(source="photos", train_size=200)


@pytest.fixture(scope="module")
def photos(tmp_path_factory) -> PackedDataset:
    out = tmp_path_factory.mktemp("packed") / "photos"
    pack(DATASETS["photos"]().load(SPEC), SPEC, 16, out)
    return PackedDataset(out)


def test_every_packed_image_is_its_source_resized_in_order(photos):
    ready = load_dataset(SPEC)
    for name, split in ready.splits.items():
        images, labels = photos.images(name), photos.labels(name)
        assert images.shape == (len(split), 3, 16, 16)
        assert images.dtype == np.uint8
        assert photos.size(name) == len(split)
        np.testing.assert_array_equal(labels, split.labels)
        for index in range(0, len(split), 37):
            np.testing.assert_array_equal(images[index], to_square(split.image(index), 16))


def test_mean_and_std_are_those_of_the_packed_training_pixels(photos):
    pixels = photos.images("train").astype(np.float64) / 255
    np.testing.assert_allclose(photos.mean, pixels.mean(axis=(0, 2, 3)), rtol=1e-12)
    np.testing.assert_allclose(photos.std, pixels.std(axis=(0, 2, 3)), rtol=1e-9)


def test_images_are_mapped_and_cannot_be_written(photos):
    images = photos.images("train")
    assert isinstance(images, np.memmap)
    with pytest.raises(ValueError, match="read-only"):
        images[0] = 0


def test_classes_and_size_come_back(photos):
    assert photos.classes == load_dataset(SPEC).classes
    assert photos.num_classes == 17
    assert photos.image_size == 16


def test_packing_twice_writes_the_same_bytes(tmp_path):
    spec = DatasetSpec(source="digits", train_size=100)
    for place in ("a", "b"):
        pack(DATASETS["digits"]().load(spec), spec, 8, tmp_path / place)
    for path in (tmp_path / "a").iterdir():
        assert path.read_bytes() == (tmp_path / "b" / path.name).read_bytes()


def test_packing_reports_progress_counts_and_the_bytes_it_needs(tmp_path):
    spec = DatasetSpec(source="digits", train_size=100)
    seen: list[tuple[int, int]] = []
    raw = DATASETS["digits"]().load(spec)
    counts = pack(raw, spec, 8, tmp_path, lambda done, total: seen.append((done, total)))
    assert counts == {"classes": 10, "train_images": 100, "val_images": 287, "test_images": 359}
    assert seen == sorted(seen)
    assert seen[-1] == (746, 746)
    written = sum(path.stat().st_size for path in tmp_path.glob("*.npy"))
    assert 0 <= written - packed_bytes(load_dataset(spec), 8) <= 6 * 128  # six npy headers


def test_a_damaged_image_stops_packing_and_is_named(tmp_path):
    root = write_folder_dataset(tmp_path / "set", "digits", 2, per_class=4, test_per_class=2)
    (root / "train/1/0001.png").write_text("not a picture")
    spec = DatasetSpec(source="folder", path=str(root))
    with pytest.raises(UserError, match=rf"train/1/0001.png in dataset folder {root}"):
        pack(DATASETS["folder"]().load(spec), spec, 8, tmp_path / "out")


def test_a_constant_channel_has_a_std_that_can_be_divided_by(tmp_path):
    root = write_folder_dataset(tmp_path / "set", "digits", 2, per_class=4, test_per_class=1)
    for path in root.rglob("*.png"):
        Image.new("RGB", (8, 8), (10, 20, 30)).save(path)
    spec = DatasetSpec(source="folder", path=str(root))
    pack(DATASETS["folder"]().load(spec), spec, 8, tmp_path / "out")
    description = json.loads((tmp_path / "out/dataset.json").read_text())
    np.testing.assert_allclose(description["mean"], np.array([10, 20, 30]) / 255)
    np.testing.assert_allclose(description["std"], 1 / 255)


def test_a_folder_that_was_never_packed_says_so(tmp_path):
    with pytest.raises(UserError, match="holds no packed dataset"):
        PackedDataset(tmp_path)
