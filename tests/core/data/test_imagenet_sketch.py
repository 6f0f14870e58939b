from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from mlfd_tune.core.data import DATASETS, DatasetSpec, check_dataset, load_dataset
from mlfd_tune.core.data.splits import stratified_folds
from mlfd_tune.core.errors import UserError
from tests.helpers.layouts_imagenet import SKETCH_WNIDS, write_imagenet_sketch

WNIDS = SKETCH_WNIDS[:3]


def spec_of(root: Path, **settings) -> DatasetSpec:
    return DatasetSpec(source="imagenet_sketch", path=str(root), **settings)


@pytest.fixture
def sketch(tmp_path: Path) -> Path:
    """Return the folder of 3 classes of 10 drawings each."""
    return write_imagenet_sketch(tmp_path) / "sketch"


def problems_of(root: Path) -> list[str]:
    """Return the problems, with the dataset's folder left out of them."""
    found = DATASETS["imagenet_sketch"]().inspect(spec_of(root))
    with pytest.raises(UserError) as caught:
        load_dataset(spec_of(root))
    assert caught.value.problems == found.problems
    assert all(f"dataset folder {root} " in problem for problem in found.problems)
    return [problem.replace(f" in dataset folder {root}", "") for problem in found.problems]


@given(
    counts=st.lists(st.integers(1, 30), min_size=1, max_size=5),
    folds=st.integers(2, 6),
    seed=st.integers(0, 3),
)
def test_folds_share_out_every_class_evenly(counts, folds, seed):
    labels = np.repeat(np.arange(len(counts)), counts)
    names = [f"{label}/{index}" for index, label in enumerate(labels)]
    dealt = stratified_folds(labels, names, folds, seed)
    for label in range(len(counts)):
        shares = np.bincount(dealt[labels == label], minlength=folds)
        assert len(shares) == folds
        assert shares.max() - shares.min() <= 1


def test_folds_follow_names_and_seed_and_not_the_order_of_images():
    labels = np.repeat([0, 1], 20)
    names = np.array([f"image {index}" for index in range(40)])
    first = stratified_folds(labels, names.tolist(), 5, 0)
    back = stratified_folds(labels[::-1], names[::-1].tolist(), 5, 0)
    np.testing.assert_array_equal(first, back[::-1])
    assert (first != stratified_folds(labels, names.tolist(), 5, 1)).any()


def test_small_classes_do_not_all_begin_at_the_first_fold():
    dealt = stratified_folds(np.arange(10), [f"{n}" for n in range(10)], 5, 0)
    np.testing.assert_array_equal(np.bincount(dealt), [2, 2, 2, 2, 2])


def test_four_folds_are_for_training_and_every_image_is_tested_in_one(sketch):
    tested: list[str] = []
    for fold in range(5):
        raw = load_dataset(spec_of(sketch, options={"fold": fold}))
        assert raw.classes == WNIDS
        sizes = {name: len(split) for name, split in raw.splits.items()}
        assert sizes == {"train": 18, "val": 6, "test": 6}
        np.testing.assert_array_equal(np.bincount(raw.splits["test"].labels), [2, 2, 2])
        together = [name for split in raw.splits.values() for name in split.names]
        assert len(set(together)) == 30
        tested += raw.splits["test"].names
    assert len(set(tested)) == len(tested) == 30


def test_fold_0_is_the_default_and_another_split_seed_makes_other_folds(sketch):
    def tested(**settings) -> tuple[str, ...]:
        return load_dataset(spec_of(sketch, **settings)).splits["test"].names

    assert tested() == tested(options={"fold": 0})
    assert tested() != tested(options={"fold": 1})
    assert tested() != tested(split_seed=1)


@pytest.mark.parametrize("fold", [-1, 5, "first"])
def test_there_are_five_folds(sketch, fold):
    with pytest.raises(ValueError, match=r"options\.fold"):
        spec_of(sketch, options={"fold": fold})


def test_the_path_may_be_the_folder_that_it_was_unpacked_in(sketch):
    names = [load_dataset(spec_of(root)).splits["train"].names for root in (sketch, sketch.parent)]
    assert names[0] == names[1]
    assert names[0][0].startswith("n01440764/sketch_")


def test_a_small_copy_is_told_from_the_whole_and_allowed(sketch):
    report = check_dataset("it", spec_of(sketch))
    assert report.ok
    assert report.warnings == (
        "30 images; the published dataset has 50,889",
        "3 classes; the published dataset has 1,000",
    )


def test_the_fingerprint_follows_content_and_not_the_place(sketch):
    source = DATASETS["imagenet_sketch"]()
    before = source.fingerprint(spec_of(sketch))
    moved = sketch.rename(sketch.parent / "elsewhere")
    assert source.fingerprint(spec_of(moved)) == before
    Image.new("RGB", (9, 9)).save(moved / WNIDS[0] / "sketch_3.JPEG")
    assert source.fingerprint(spec_of(moved)) != before
    (moved / "tench").mkdir()
    with pytest.raises(UserError, match="has folder 'tench'"):
        source.fingerprint(spec_of(moved))


# What is broken, and what is said of it.


def test_a_folder_that_does_not_exist_is_told(sketch):
    with pytest.raises(UserError, match=r"does not exist \(did you mean '.*/sketch'\?\)"):
        load_dataset(spec_of(sketch.parent / "skecth"))


def test_a_folder_without_classes_tells_what_was_found(tmp_path):
    (tmp_path / "ImageNet-Sketch.zip").write_bytes(b"")
    assert problems_of(tmp_path) == [
        f"dataset folder {tmp_path} has no folder of a class, such as sketch/n01440764 "
        "(found: ImageNet-Sketch.zip); unpack ImageNet-Sketch.zip in it"
    ]


def test_all_structural_problems_come_at_once(sketch):
    for image in (sketch / WNIDS[0]).iterdir():
        image.unlink()
    (sketch / WNIDS[1] / "more").mkdir()
    for number in range(1, 10):
        (sketch / WNIDS[2] / f"sketch_{number}.JPEG").unlink()
    (sketch / "tench").mkdir()
    assert problems_of(sketch) == [
        f"dataset folder {sketch} has folder 'tench', which is no wnid",
        f"{WNIDS[0]} is empty: a class needs images that end in .JPEG",
        f"{WNIDS[1]}/more is a folder; images lie directly in {WNIDS[1]}",
        f"{WNIDS[2]} has one image only; a class needs one to train and one to test",
    ]


def test_one_class_only_is_not_enough(tmp_path):
    root = write_imagenet_sketch(tmp_path, classes=1) / "sketch"
    assert problems_of(root) == [
        f"dataset folder {root} has one class only (n01440764); at least two are needed"
    ]


def test_damaged_images_are_told_together_with_structural_problems(sketch):
    (sketch / WNIDS[0] / "sketch_0.JPEG").write_text("no picture")
    damaged = sketch / WNIDS[1] / "sketch_1.JPEG"
    damaged.write_bytes(damaged.read_bytes()[:-200])
    (sketch / "tench").mkdir()
    problems = sorted(check_dataset("it", spec_of(sketch)).problems)
    assert [problem.split(" in ")[0] for problem in problems[1:]] == [
        f"{WNIDS[0]}/sketch_0.JPEG",
        f"{WNIDS[1]}/sketch_1.JPEG",
    ]
    assert "is not an image that can be read" in problems[1]
    assert "is a damaged image" in problems[2]


def test_files_that_are_no_images_are_left_out_with_a_word(sketch):
    (sketch / "README.md").write_text("words")
    (sketch / WNIDS[0] / "Thumbs.db").write_bytes(b"junk")
    warnings = check_dataset("it", spec_of(sketch)).warnings
    assert warnings[:2] == (
        f"README.md in dataset folder {sketch} is in no class: ignored",
        f"{WNIDS[0]}/Thumbs.db in dataset folder {sketch} does not end in .JPEG: ignored",
    )
