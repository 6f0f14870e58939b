from __future__ import annotations

import io
import shutil
import socket
import subprocess
import sys
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from datasets import ClassLabel, Dataset
from PIL import Image

from mlfd_tune.core.data import DATASETS, DatasetSpec, check_dataset, dataset_identity, load_dataset
from mlfd_tune.core.errors import UserError
from tests.helpers.layouts_lists import digit_pictures, digit_table, write_parquet, write_saved


def spec_of(root: Path, **options) -> DatasetSpec:
    return DatasetSpec(source="huggingface", path=str(root), options=options)


def load(root: Path, **options):
    return DATASETS["huggingface"]().load(spec_of(root, **options))


def problems_of(root: Path, **options) -> str:
    with pytest.raises(UserError) as caught:
        load(root, **options)
    return str(caught.value)


def pixels(image: Image.Image) -> np.ndarray:
    return np.asarray(image.convert("RGB"))


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    """Three digits as save_to_disk writes them, 4 training and 2 test images of each."""
    return write_saved(tmp_path / "saved")


@pytest.fixture
def cloned(tmp_path: Path) -> Path:
    """The same in Parquet files."""
    return write_parquet(tmp_path / "cloned")


@pytest.mark.parametrize("write", [write_saved, write_parquet])
def test_a_dataset_gives_its_pictures_and_its_classes_names(tmp_path, write):
    raw = load(write(tmp_path / "set"))
    assert raw.classes == ("digit 0", "digit 1", "digit 2")
    assert {name: len(split) for name, split in raw.splits.items()} == {"train": 12, "test": 6}
    np.testing.assert_array_equal(raw.splits["train"].labels, [0] * 4 + [1] * 4 + [2] * 4)
    for row in (0, 11, 5):
        with Image.open(io.BytesIO(digit_pictures("train", 3, 4)[row][1])) as picture:
            np.testing.assert_array_equal(pixels(raw.splits["train"].image(row)), pixels(picture))


def test_one_saved_table_is_the_training_split(saved):
    assert set(load(saved / "train").splits) == {"train"}
    assert len(load_dataset(spec_of(saved / "train")).splits["val"]) == 3


def test_many_shards_and_pieces_are_one_split(tmp_path):
    whole = load(write_parquet(tmp_path / "one"))
    parts = load(write_parquet(tmp_path / "three", shards=3))
    small = tmp_path / "small"
    small.mkdir()
    pq.write_table(
        pq.read_table(tmp_path / "one/data/train-00000-of-00001.parquet"),
        small / "train.parquet",
        row_group_size=1,
    )
    for other in (parts, load(small)):
        np.testing.assert_array_equal(other.splits["train"].labels, whole.splits["train"].labels)
        for row in (11, 0, 4, 7, 5, 1, 2, 3, 6, 8, 9, 10):
            np.testing.assert_array_equal(
                pixels(other.splits["train"].image(row)), pixels(whole.splits["train"].image(row))
            )


@pytest.mark.parametrize("name", ["validation", "val", "valid", "dev"])
def test_a_shipped_validation_split_is_found_by_its_usual_names(tmp_path, name):
    tables = {"train": digit_table("train"), name: digit_table("test")}
    assert set(load(write_saved(tmp_path / "set", **tables)).splits) == {"train", "val"}


def test_splits_can_be_chosen_and_left_out(tmp_path):
    tables = {"train": digit_table("train"), "validation": digit_table("test")}
    root = write_parquet(tmp_path / "set", **tables)
    assert set(load(root, test_split="validation").splits) == {"train", "test"}
    assert set(load(root, val_split=None).splits) == {"train"}
    assert "cannot be both val and test" in problems_of(
        write_saved(tmp_path / "other", train=digit_table("train"), a=digit_table("test")),
        val_split="a",
        test_split="a",
    )
    found = DATASETS["huggingface"]().inspect(spec_of(root, val_split=None))
    assert "split 'validation'" in found.warnings[0]


@pytest.mark.parametrize("folder", ["plain_text", "default/train"])
def test_files_of_a_repository_may_lie_in_a_folder_of_the_configuration(cloned, folder):
    (cloned / folder).mkdir(parents=True)
    name = "0000.parquet" if folder.endswith("train") else "train-00000-of-00001.parquet"
    (cloned / "data/train-00000-of-00001.parquet").rename(cloned / folder / name)
    (cloned / ".cache").mkdir()
    (cloned / ".cache/junk.parquet").write_text("junk")
    assert len(load(cloned).splits["train"]) == 12


def test_labels_may_be_texts_or_numbers(tmp_path):
    table = digit_table("train").remove_columns("label")
    texts = table.add_column("kind", ["cat", "007", "NA"] * 4)
    raw = load(write_saved(tmp_path / "a", train=texts), label_column="kind")
    assert raw.classes == ("007", "NA", "cat")
    assert raw.splits["train"].labels[:3].tolist() == [2, 0, 1]
    numbers = table.add_column("kind", [10, 9, 100] * 4)
    raw = load(write_saved(tmp_path / "b", train=numbers), label_column="kind")
    assert raw.classes == ("9", "10", "100")


def test_files_of_other_programs_are_read_by_their_types(tmp_path):
    pictures = digit_pictures("train", 2, 3)
    table = pa.table(
        {
            "picture": [content for _, content in pictures],
            "label": [f"digit {label}" for label, _ in pictures],
        }
    )
    pq.write_table(table, tmp_path / "train.parquet")
    raw = load(tmp_path, label_column="label")
    assert raw.splits["train"].image(5).size == (8, 8)
    assert "set options.label_column (columns: picture: binary, label: string)" in problems_of(
        tmp_path
    )


def test_images_beside_the_table_are_read_inside_the_folder_only(tmp_path):
    rows = [{"path": f"pictures/{number}.png"} for number in range(4)]
    inside, outside = tmp_path / "inside", tmp_path / "outside"
    for root in (inside, outside):
        (root / "pictures").mkdir(parents=True)
        for number in range(4):
            Image.new("L", (4, 4), number * 9).save(root / f"pictures/{number}.png")
    rows[3] = {"path": "pictures/3.png", "bytes": (inside / "pictures/3.png").read_bytes()}
    kind = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
    pq.write_table(
        pa.table({"image": pa.array(rows, kind), "y": [0, 1, 0, 1]}), inside / "train.parquet"
    )
    rows[2] = {"path": str(tmp_path / "inside/pictures/0.png")}
    rows[1] = {"path": "pictures/none.png"}
    rows[0] = {}
    pq.write_table(
        pa.table({"image": pa.array(rows, kind), "y": [0, 1, 0, 1]}), outside / "train.parquet"
    )
    train = load(inside, label_column="y").splits["train"]
    assert [pixels(train.image(row))[0, 0, 0] for row in range(4)] == [0, 9, 18, 27]

    report = check_dataset("mine", spec_of(outside, label_column="y"))
    first, second, third = report.problems[:3]
    assert "train/0 in dataset folder" in first
    assert "has no image" in first
    assert "there is no image 'pictures/none.png' in the folder" in second
    assert "outside of the folder" in third

    before = dataset_identity(spec_of(inside, label_column="y"))
    Image.new("L", (4, 4), 200).save(inside / "pictures/0.png")
    assert dataset_identity(spec_of(inside, label_column="y")) != before


def test_the_identity_follows_content_and_not_how_or_where_it_is_stored(tmp_path, saved, cloned):
    again = write_parquet(tmp_path / "elsewhere", shards=2)
    identity = dataset_identity(spec_of(saved))
    assert identity == dataset_identity(spec_of(cloned)) == dataset_identity(spec_of(again))
    assert str(tmp_path) not in str(identity)
    table = digit_table("train")
    relabelled = table.map(lambda row: {"label": (row["label"] + 1) % 3})
    other = write_saved(tmp_path / "other", train=relabelled, test=digit_table("test", 3, 2))
    assert dataset_identity(spec_of(other)) != identity


def test_nothing_is_written_and_nothing_reaches_for_the_network(cloned, monkeypatch):
    def refuse(*_):
        raise AssertionError("a connection was tried")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    before = sorted(cloned.rglob("*"))
    load(cloned).splits["train"].image(0)
    assert sorted(cloned.rglob("*")) == before


def test_without_pyarrow_the_extra_to_install_is_named(cloned):
    script = (
        "import sys; sys.modules['pyarrow'] = None\n"
        "from mlfd_tune.core.data import DatasetSpec, load_dataset\n"
        "from mlfd_tune.core.errors import UserError\n"
        f"spec = DatasetSpec(source='huggingface', path={str(cloned)!r})\n"
        "try: load_dataset(spec)\n"
        "except UserError as error: print(error)"
    )
    shown = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True).stdout
    assert "pip install 'mlfd-tune[huggingface]'" in shown


def test_a_folder_of_another_kind_is_told(tmp_path):
    (tmp_path / "train/cat").mkdir(parents=True)
    message = problems_of(tmp_path)
    assert "holds no Hugging Face dataset" in message
    assert "(found: train; is it a dataset of source 'folder'?)" in message
    assert "does not exist" in problems_of(tmp_path / "none")


@pytest.mark.parametrize(
    ("file", "content", "said"),
    [
        ("dataset_dict.json", "{", "dataset_dict.json in dataset folder"),
        ("dataset_dict.json", "[]", "holds no keys and values"),
        ("dataset_dict.json", '{"splits": ["../other"]}', "names data outside of itself"),
        ("dataset_dict.json", '{"splits": ["train", "none"]}', "none in dataset folder"),
        ("train/state.json", "{}", "does not name the files of its data"),
        ("train/data-00000-of-00001.arrow", "", "data-00000-of-00001.arrow in dataset folder"),
        ("train/data-00000-of-00001.arrow", "version https://git-lfs.git", "run git lfs pull"),
    ],
)
def test_a_damaged_file_is_named(saved, file, content, said):
    (saved / file).write_text(content)
    message = problems_of(saved)
    assert said in message
    assert len(message.splitlines()) == 1


def test_missing_and_truncated_files_are_named(tmp_path, saved):
    arrow = saved / "train/data-00000-of-00001.arrow"
    content = arrow.read_bytes()
    arrow.write_bytes(content[: len(content) // 2])
    assert "data-00000-of-00001.arrow in dataset folder" in problems_of(saved)
    assert "is damaged: " in problems_of(saved)
    arrow.unlink()
    assert "data-00000-of-00001.arrow in dataset folder" in problems_of(saved)
    assert "is missing" in problems_of(saved)

    cloned = write_parquet(tmp_path / "shards", shards=3)
    shard = cloned / "data/train-00001-of-00003.parquet"
    shard.write_bytes(shard.read_bytes()[:-20])
    assert "train-00001-of-00003.parquet in dataset folder" in problems_of(cloned)
    shard.unlink()
    assert "files of split 'train' are missing (found: train-00000-of-00003" in problems_of(cloned)


def test_a_piece_damaged_inside_is_told_when_it_is_read(cloned):
    file = cloned / "data/train-00000-of-00001.parquet"
    content = bytearray(file.read_bytes())
    content[30:400] = b"\xff" * 370
    file.write_bytes(content)
    report = check_dataset("mine", spec_of(cloned))
    assert not report.ok
    assert "train-00000-of-00001.parquet in dataset folder" in report.problems[0]


def test_two_configurations_in_one_repository_are_told(cloned):
    shutil.copytree(cloned / "data", cloned / "other")
    assert "holds split 'train' in several folders (data, other)" in problems_of(cloned)


def test_unknown_columns_and_splits_suggest_the_nearest(saved):
    message = problems_of(saved, image_column="imag", label_column="lable")
    assert "options.image_column: no column 'imag'" in message
    assert "did you mean 'image'?" in message
    assert "did you mean 'label'?" in message
    message = problems_of(saved, train_split="trian", test_split="tst")
    assert "no split 'trian'; set options.train_split (allowed: test, train; did you" in message
    assert "set options.test_split" in message


def test_columns_of_another_kind_are_told_with_what_there_is(saved, tmp_path):
    columns = "(columns: image: Image, label: 3 classes, note: string)"
    assert f"column 'note' holds no images {columns}" in problems_of(saved, image_column="note")
    assert "column 'image' holds no labels" in problems_of(saved, label_column="image")
    table = digit_table("train").add_column("coarse", [0] * 12)
    table = table.cast_column("coarse", ClassLabel(names=["digit"]))
    message = problems_of(write_saved(tmp_path / "two", train=table))
    assert "has more than one column of named classes; set options.label_column" in message
    assert "coarse: 1 classes" in message
    listed = Dataset.from_dict({"image": [[1, 2]], "label": [0]})
    message = problems_of(write_saved(tmp_path / "lists", train=listed))
    assert "has no column of images; set options.image_column" in message
    assert "has no column of named classes" in message


def test_rows_without_a_label_are_told_with_a_way_out(tmp_path):
    unlabelled = digit_table("test").map(lambda _: {"label": -1})
    root = write_saved(tmp_path / "set", train=digit_table("train"), test=unlabelled)
    message = problems_of(root)
    assert "12 rows of test have no label, the first is row 0" in message
    assert "set options.test_split to another split or to null" in message
    assert set(load(root, test_split=None).splits) == {"train"}


def test_labels_that_are_no_class_are_told(tmp_path):
    def table(*kinds):
        pictures = digit_table("train").select(range(len(kinds))).remove_columns("label")
        return pictures.add_column("kind", list(kinds))

    root = write_saved(tmp_path / "a", train=table("cat", "dog", None), test=table("cta"))
    first, second = problems_of(root, label_column="kind").splitlines()
    assert "1 row of train has no label, the first is row 2" in first
    assert "the first is 'cta' in row 0 (allowed: cat, dog; did you mean 'cat'?)" in second
    root = write_saved(tmp_path / "b", train=table("cat", "cat"))
    assert "fewer than two classes" in problems_of(root, label_column="kind")


def test_splits_that_differ_are_told(tmp_path):
    table = digit_table("test")
    other = table.cast_column("label", ClassLabel(names=["a", "b", "c"]))
    root = write_saved(tmp_path / "a", train=digit_table("train"), test=other)
    assert "test has other classes than train in column 'label'" in problems_of(root)
    root = write_saved(
        tmp_path / "b", train=digit_table("train"), test=table.remove_columns("image")
    )
    assert "split 'test' has no column 'image', which train has" in problems_of(root)
    root = write_parquet(tmp_path / "c", shards=2, train=digit_table("train"))
    narrow = digit_table("train").select(range(6)).remove_columns("note")
    narrow.to_parquet(root / "data/train-00001-of-00002.parquet")
    assert "has other columns than train-00000-of-00002.parquet" in problems_of(root)


def test_a_split_without_rows_is_told(tmp_path):
    table = digit_table("train")
    root = write_saved(tmp_path / "set", train=table, test=table.select([]))
    assert "split 'test' has no rows" in problems_of(root)


def test_bytes_that_are_no_image_are_named_by_row(tmp_path):
    table = digit_table("train", 2, 4)
    rows = [*(row["bytes"] for row in table.with_format("arrow")["image"].to_pylist())]
    rows[2] = rows[2][:40]
    kinds = {"image": [{"bytes": row} for row in rows], "label": table["label"]}
    features = table.features.copy()
    del features["note"]
    root = write_saved(tmp_path / "set", train=Dataset.from_dict(kinds, features=features))
    report = check_dataset("mine", spec_of(root))
    assert len(report.problems) == 1
    assert (
        f"train/2 in dataset folder {root} is not an image that can be read" in report.problems[0]
    )
