from __future__ import annotations

import os
import pickle
from pathlib import Path

import numpy as np
import pytest

from mlfd_tune.core.data import DATASETS, DatasetSpec, check_dataset, load_dataset
from mlfd_tune.core.data.published.byte_pickle import read_pickle
from mlfd_tune.core.errors import UserError
from tests.helpers.layouts_cifar import (
    CLASSES,
    write_cifar10,
    write_cifar10_binary,
    write_cifar100,
    write_cifar100_binary,
    write_pickle,
)

TEN, HUNDRED = "cifar-10-batches-py", "cifar-100-python"
TEN_BINARY, HUNDRED_BINARY = "cifar-10-batches-bin", "cifar-100-binary"


def spec_of(source: str, root: Path, **settings) -> DatasetSpec:
    return DatasetSpec(source=source, path=str(root), **settings)


def problems_of(source: str, root: Path) -> list[str]:
    found = DATASETS[source]().inspect(spec_of(source, root))
    assert found.raw is None
    with pytest.raises(UserError) as caught:
        load_dataset(spec_of(source, root))
    assert caught.value.problems == found.problems
    return list(found.problems)


def the_problem_of(source: str, root: Path) -> str:
    (problem,) = problems_of(source, root)
    return problem


@pytest.fixture
def ten(tmp_path: Path) -> Path:
    return write_cifar10(tmp_path, per_class=5, test_per_class=1)


@pytest.fixture
def ten_binary(tmp_path: Path) -> Path:
    return write_cifar10_binary(tmp_path, per_class=5, test_per_class=1)


@pytest.fixture
def hundred(tmp_path: Path) -> Path:
    return write_cifar100(tmp_path, per_class=2)


@pytest.fixture
def hundred_binary(tmp_path: Path) -> Path:
    return write_cifar100_binary(tmp_path, per_class=2)


def change(path: Path, **values) -> None:
    """Write a pickled dictionary again with other values; None takes a key away."""
    held = {key.decode(): value for key, value in read_pickle(path, "it").items()}
    held |= values
    if "data" in held and "data" not in values:
        held["data"] = held["data"].values
    write_pickle(path, {key: value for key, value in held.items() if value is not None})


def test_the_official_splits_are_read_and_validation_is_carved_from_train(ten):
    raw = load_dataset(spec_of("cifar10", ten))
    assert raw.classes == CLASSES
    sizes = {name: len(split) for name, split in raw.splits.items()}
    assert sizes == {"train": 40, "val": 10, "test": 10}
    assert sorted(raw.splits["test"].labels) == list(range(10))


def test_an_image_is_three_planes_of_rows(ten):
    held = read_pickle(ten / TEN / "data_batch_2", "it")
    row = np.asarray(held[b"data"].values[3])
    first = len(read_pickle(ten / TEN / "data_batch_1", "it")[b"labels"])
    train = DATASETS["cifar10"]().load(spec_of("cifar10", ten)).splits["train"]
    pixels = np.asarray(train.image(first + 3))
    assert pixels.shape == (32, 32, 3)
    for y, x, channel in ((0, 0, 0), (5, 17, 1), (31, 30, 2)):
        assert pixels[y, x, channel] == row[1024 * channel + 32 * y + x]
    assert train.labels[first + 3] == held[b"labels"][3]
    assert train.name(first + 3) == f"train/{held[b'filenames'][3].decode()}"


@pytest.mark.parametrize(
    ("source", "python", "binary", "options"),
    [
        ("cifar10", write_cifar10, write_cifar10_binary, {}),
        ("cifar100", write_cifar100, write_cifar100_binary, {}),
        ("cifar100", write_cifar100, write_cifar100_binary, {"labels": "coarse"}),
    ],
)
def test_both_forms_give_the_same_images(tmp_path, source, python, binary, options):
    roots = python(tmp_path / "python"), binary(tmp_path / "binary")
    one, other = (DATASETS[source]().load(spec_of(source, root, options=options)) for root in roots)
    assert one.classes == other.classes
    for split in ("train", "test"):
        np.testing.assert_array_equal(one.splits[split].labels, other.splits[split].labels)
        for index in (0, len(one.splits[split]) - 1):
            pictures = (np.asarray(raw.splits[split].image(index)) for raw in (one, other))
            np.testing.assert_array_equal(*pictures)


def test_the_coarse_labels_are_an_option_of_cifar100(hundred):
    fine, coarse = (
        DATASETS["cifar100"]().load(spec_of("cifar100", hundred, options=options))
        for options in ({}, {"labels": "coarse"})
    )
    assert (len(fine.classes), len(coarse.classes)) == (100, 20)
    np.testing.assert_array_equal(fine.splits["train"].labels // 5, coarse.splits["train"].labels)
    with pytest.raises(ValueError, match="'fine' or 'coarse'"):
        spec_of("cifar100", hundred, options={"labels": "medium"})
    with pytest.raises(ValueError, match="has no option 'labels'"):
        spec_of("cifar10", hundred, options={"labels": "fine"})


def test_the_path_may_be_the_folder_itself_or_the_one_it_was_unpacked_in(ten):
    names = [
        DATASETS["cifar10"]().load(spec_of("cifar10", root)).splits["test"].names
        for root in (ten, ten / TEN)
    ]
    assert names[0] == names[1]


def test_two_images_of_one_file_name_get_two_names(ten):
    change(ten / TEN / "data_batch_1", filenames=["same.png"] * 10)
    names = DATASETS["cifar10"]().load(spec_of("cifar10", ten)).splits["train"].names
    assert names[:3] == ("train/same.png", "train/same.png#2", "train/same.png#3")
    assert len(set(names)) == len(names)


def test_a_small_copy_is_told_from_the_whole_and_allowed(hundred):
    for options in ({}, {"labels": "coarse"}):
        report = check_dataset("it", spec_of("cifar100", hundred, options=options))
        assert report.ok
        assert report.warnings[:2] == (
            "200 training images; the published dataset has 50,000",
            "100 test images; the published dataset has 10,000",
        )
        assert "classes;" not in str(report.warnings)


def test_the_fingerprint_follows_content_and_not_the_place(ten, tmp_path):
    source = DATASETS["cifar10"]()
    before = source.fingerprint(spec_of("cifar10", ten))
    (ten / TEN / "readme.html").write_text("another readme")
    (ten / TEN).rename(ten / "moved")
    assert source.fingerprint(spec_of("cifar10", ten / "moved")) == before
    change(ten / "moved/test_batch", labels=[1] * 10)
    assert source.fingerprint(spec_of("cifar10", ten / "moved")) != before
    (ten / "moved/test_batch").unlink()
    with pytest.raises(UserError, match=r"test_batch in dataset folder .* is missing"):
        source.fingerprint(spec_of("cifar10", ten / "moved"))


# What is broken, and what is said of it.


def test_a_folder_without_the_dataset_names_both_archives(tmp_path):
    message = the_problem_of("cifar10", tmp_path)
    assert TEN in message
    assert "cifar-10-python.tar.gz" in message
    assert "cifar-10-binary.tar.gz" in message


def test_missing_files_are_all_named(ten):
    (ten / TEN / "data_batch_4").unlink()
    (ten / TEN / "batches.meta").unlink()
    problems = problems_of("cifar10", ten)
    assert problems == [
        f"{file} in dataset folder {ten / TEN} is missing; unpack cifar-10-python.tar.gz again"
        for file in ("data_batch_4", "batches.meta")
    ]


def test_a_truncated_batch_is_named(ten):
    batch = ten / TEN / "data_batch_3"
    batch.write_bytes(batch.read_bytes()[:9_000])
    message = the_problem_of("cifar10", ten)
    assert message.startswith(f"data_batch_3 in dataset folder {ten / TEN} is no pickle")
    assert "truncated" in message


class Command:
    def __init__(self, command: str) -> None:
        self.command = command

    def __reduce__(self):
        return os.system, (self.command,)


def test_a_batch_that_is_a_program_is_refused_and_not_run(ten):
    witness = ten / "it_ran"
    (ten / TEN / "test_batch").write_bytes(pickle.dumps(Command(f"touch {witness}"), protocol=2))
    message = the_problem_of("cifar10", ten)
    named = f"{os.system.__module__}.system"
    assert message.startswith(f"test_batch in dataset folder {ten / TEN} asks for {named}, which")
    assert not witness.exists()


def test_all_broken_batches_are_told_at_once(ten):
    folder = ten / TEN
    write_pickle(folder / "data_batch_1", [1, 2, 3])
    change(folder / "data_batch_2", labels=None, data=np.zeros((10, 3071), dtype=np.uint8))
    change(folder / "data_batch_3", data=np.zeros((10, 3071), dtype=np.uint8))
    change(folder / "data_batch_4", labels=[0] * 9, filenames=["a.png"])
    change(folder / "data_batch_5", labels=[3, 10, -1, *[0] * 7])
    change(folder / "batches.meta", label_names=list(CLASSES[:9]))
    said = [
        "data_batch_1 in {} holds a list, not a dictionary",
        "data_batch_2 in {} has no key 'labels'",
        "data_batch_3 in {}: 'data' is an array of shape (10, 3071), not one of shape "
        "(images, 3072); unpack cifar-10-python.tar.gz again",
        "data_batch_4 in {}: 9 'labels' for 10 images; unpack cifar-10-python.tar.gz again",
        "data_batch_4 in {}: 1 'filenames' for 10 images; unpack cifar-10-python.tar.gz again",
        "data_batch_5 in {}: 'labels' of image 1 is 10 and 1 more (allowed: 0 to 9)",
        "batches.meta in {}: 'label_names' has 9 class names, not 10",
    ]
    assert problems_of("cifar10", ten) == [
        line.replace("{}", f"dataset folder {folder}") for line in said
    ]


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"data": [1, 2]}, "'data' is no array of bytes"),
        ({"data": np.zeros((0, 3072), dtype=np.uint8)}, "'data' is an array of shape (0, 3072)"),
        ({"labels": "0123456789"}, "'labels' is a bytes, not a list"),
        ({"labels": ["cat"] * 10}, "'labels' of image 0 is b'cat' and 9 more (allowed: 0 to 9)"),
    ],
)
def test_values_of_another_kind_are_told(ten, values, said):
    change(ten / TEN / "test_batch", **values)
    message = the_problem_of("cifar10", ten)
    assert message.startswith(f"test_batch in dataset folder {ten / TEN}: ")
    assert said in message


def test_images_of_one_class_only_are_not_enough(ten):
    for number in range(1, 6):
        change(ten / TEN / f"data_batch_{number}", labels=[7] * 10)
    message = the_problem_of("cifar10", ten)
    assert "data_batch_1, data_batch_2" in message
    assert "all images are of one class ('horse'); at least two are needed" in message


def test_broken_fine_labels_and_names_of_cifar100_are_told(hundred):
    change(hundred / HUNDRED / "train", fine_labels=[100, *[0] * 199])
    change(hundred / HUNDRED / "meta", fine_label_names=["apple"] * 100)
    assert problems_of("cifar100", hundred) == [
        f"train in dataset folder {hundred / HUNDRED}: 'fine_labels' of image 0 is 100 "
        "(allowed: 0 to 99)",
        f"meta in dataset folder {hundred / HUNDRED}: 'fine_label_names' has the class name "
        "'apple' twice",
    ]


def test_the_other_dataset_in_its_place_is_told(ten):
    (ten / TEN).rename(ten / HUNDRED)
    (ten / HUNDRED / "data_batch_1").rename(ten / HUNDRED / "train")
    (ten / HUNDRED / "test_batch").rename(ten / HUNDRED / "test")
    (ten / HUNDRED / "batches.meta").rename(ten / HUNDRED / "meta")
    assert problems_of("cifar100", ten) == [
        f"train in dataset folder {ten / HUNDRED} has no key 'fine_labels'",
        f"test in dataset folder {ten / HUNDRED} has no key 'fine_labels'",
        f"meta in dataset folder {ten / HUNDRED} has no key 'fine_label_names'",
    ]


def test_records_of_another_size_are_told(ten_binary):
    batch = ten_binary / TEN_BINARY / "data_batch_2.bin"
    batch.write_bytes(batch.read_bytes()[:-1])
    (ten_binary / TEN_BINARY / "test_batch.bin").write_bytes(b"")
    assert problems_of("cifar10", ten_binary) == [
        f"{file} in dataset folder {ten_binary / TEN_BINARY} has {size} bytes, which is not a "
        "whole number of records of 3,073 bytes; unpack cifar-10-binary.tar.gz again"
        for file, size in (("data_batch_2.bin", "30,729"), ("test_batch.bin", "0"))
    ]


def test_labels_and_names_that_do_not_fit_binary_records_are_told(ten_binary):
    folder = ten_binary / TEN_BINARY
    content = bytearray((folder / "test_batch.bin").read_bytes())
    content[2 * 3073] = 255
    (folder / "test_batch.bin").write_bytes(content)
    (folder / "batches.meta.txt").write_text("airplane\n\n")
    assert problems_of("cifar10", ten_binary) == [
        f"test_batch.bin in dataset folder {folder}: label of image 2 is 255 (allowed: 0 to 9)",
        f"batches.meta.txt in dataset folder {folder} has 1 class names, not 10",
    ]


def test_missing_files_of_binary_cifar100_are_named(hundred_binary):
    folder = hundred_binary / HUNDRED_BINARY
    (folder / "test.bin").unlink()
    (folder / "fine_label_names.txt").unlink()
    assert problems_of("cifar100", hundred_binary) == [
        f"{file} in dataset folder {folder} is missing; unpack cifar-100-binary.tar.gz again"
        for file in ("test.bin", "fine_label_names.txt")
    ]
