from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from mlfd_tune.core.data import DATASETS, DatasetSpec, dataset_identity, load_dataset
from mlfd_tune.core.errors import UserError
from tests.helpers.layouts_lists import write_list, write_rows


def spec_of(path: Path, **options) -> DatasetSpec:
    return DatasetSpec(source="csv", path=str(path), options=options)


def load(path: Path, **options):
    return DATASETS["csv"]().load(spec_of(path, **options))


def problems_of(path: Path, **options) -> str:
    with pytest.raises(UserError) as caught:
        load(path, **options)
    return str(caught.value)


def rows_of(path: Path) -> list[list[str]]:
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.reader(file))


def change(path: Path, line: int, column: int, value: str) -> None:
    """Change one field; lines are counted from 1, the header's, as messages do."""
    rows = rows_of(path)
    rows[line - 1][column] = value
    write_rows(path, rows)


@pytest.fixture
def listed(tmp_path: Path) -> Path:
    """Four training images and two test images of each of two digits, in this order of labels."""
    return write_list(tmp_path / "mine")


def test_a_list_gives_its_pictures_in_the_splits_it_names(listed):
    raw = load(listed)
    assert raw.classes == ("digit 0", "digit 1")
    np.testing.assert_array_equal(raw.splits["train"].labels, [0] * 4 + [1] * 4)
    np.testing.assert_array_equal(raw.splits["test"].labels, [0] * 2 + [1] * 2)
    assert raw.splits["train"].name(5) == "pictures/train_005.png"
    with Image.open(listed.parent / "pictures/train_005.png") as picture:
        expected = np.asarray(picture.convert("RGB"))
    np.testing.assert_array_equal(np.asarray(raw.splits["train"].image(5)), expected)


def test_without_splits_all_is_train_and_the_rest_is_carved(tmp_path):
    path = write_list(tmp_path, per_class=10, test_per_class=0)
    assert set(load(path).splits) == {"train"}
    sizes = {name: len(split) for name, split in load_dataset(spec_of(path)).splits.items()}
    assert sizes == {"train": 12, "val": 4, "test": 4}


def test_a_column_of_splits_can_be_left_unread(listed):
    splits = load(listed, split_column=None).splits
    assert {name: len(split) for name, split in splits.items()} == {"train": 12}


def test_labels_are_text_as_it_stands(listed):
    rows = rows_of(listed)
    named = {"digit 0": "NA", "digit 1": "007"}
    write_rows(listed, [rows[0], *([path, named[label], split] for path, label, split in rows[1:])])
    assert load(listed).classes == ("007", "NA")


def test_columns_may_have_other_names_and_places_and_spaces_around_values(listed):
    rows = [[f" {split} ", "x", f"{label} ", path] for path, label, split in rows_of(listed)]
    rows[0] = ["part", "weather", "kind", "file"]
    write_rows(listed, rows)
    raw = load(listed, path_column="file", label_column="kind", split_column="part")
    assert raw.classes == ("digit 0", "digit 1")
    assert len(raw.splits["test"]) == 4


def test_a_byte_order_mark_blank_lines_and_quotes_do_no_harm(listed):
    lines = listed.read_text().splitlines()
    quoted = [lines[0], "", '"' + lines[1].replace(",", '","') + '"', *lines[2:], ""]
    listed.write_text("\r\n".join(quoted), encoding="utf-8-sig")
    assert len(load(listed).splits["train"]) == 8


def test_images_may_lie_in_another_folder(listed):
    moved = listed.parent.parent / "lists/list.csv"
    moved.parent.mkdir()
    listed.rename(moved)
    raw = load(moved, root="../mine")
    assert raw.splits["train"].image(0).size == (8, 8)
    assert "options.root: there is no folder" in problems_of(moved, root="../mien")
    assert "did you mean" in problems_of(moved, root="../mien")


def test_the_identity_follows_content_and_not_the_place_or_the_order_of_lines(tmp_path):
    here, there = write_list(tmp_path / "a"), write_list(tmp_path / "b/c")
    header, *rows = rows_of(there)
    write_rows(there, [header, *reversed(rows)])
    assert dataset_identity(spec_of(here)) == dataset_identity(spec_of(there))
    assert load(here).splits["train"].names == load(there).splits["train"].names
    assert str(tmp_path) not in str(dataset_identity(spec_of(here)))

    change(there, 2, 1, "digit 0" if rows[-1][1] == "digit 1" else "digit 1")
    assert dataset_identity(spec_of(here)) != dataset_identity(spec_of(there))


def test_the_identity_follows_the_pixels(listed):
    before = dataset_identity(spec_of(listed))
    Image.new("L", (8, 8), 3).save(listed.parent / "pictures/test_000.png")
    assert dataset_identity(spec_of(listed)) != before


def test_a_missing_file_suggests_its_neighbour(listed):
    message = problems_of(listed.with_name("lits.csv"))
    assert "lits.csv does not exist (did you mean" in message
    assert "list.csv" in message
    with pytest.raises(UserError, match="does not exist"):
        dataset_identity(spec_of(listed.with_name("lits.csv")))


def test_a_folder_is_no_list(listed):
    assert "is a folder, not a CSV file" in problems_of(listed.parent)


@pytest.mark.parametrize("content", ["", "\n\n", "\ufeff"])
def test_an_empty_file_is_told(listed, content):
    listed.write_text(content, encoding="utf-8")
    assert "is empty: its first line must name the columns" in problems_of(listed)


def test_a_header_alone_is_told(listed):
    write_rows(listed, rows_of(listed)[:1])
    assert "lists no training image" in problems_of(listed)


def test_missing_columns_suggest_the_nearest(listed):
    change(listed, 1, 0, "pth")
    change(listed, 1, 1, "lable")
    message = problems_of(listed)
    assert "no column 'path'; set options.path_column (allowed: lable, pth, split" in message
    assert "did you mean 'pth'?" in message
    assert "did you mean 'lable'?" in message


def test_a_column_that_looks_like_the_splits_is_not_passed_over(listed):
    change(listed, 1, 2, "Split")
    assert "no column 'split' (did you mean 'Split'?)" in problems_of(listed)
    assert len(load(listed, split_column="Split").splits["test"]) == 4
    assert "no column 'fold'" in problems_of(listed, split_column="fold")


def test_a_column_that_stands_twice_is_told(listed):
    change(listed, 1, 2, "path")
    assert "column 'path' stands 2 times" in problems_of(listed)


def test_other_separators_are_told(listed):
    listed.write_text(listed.read_text().replace(",", ";"))
    assert "its fields are separated by ';'; commas are needed" in problems_of(listed)


def test_a_file_in_another_encoding_is_told_with_the_line(listed):
    listed.write_bytes(listed.read_text().replace("digit 1", "größe", 1).encode("latin-1"))
    assert "is not text in UTF-8 (line 6)" in problems_of(listed)


def test_a_quote_that_is_never_closed_is_told(listed):
    listed.write_text(listed.read_text().replace("pictures/train_002", '"pictures/train_002'))
    assert "is not valid CSV" in problems_of(listed)


@pytest.mark.parametrize(
    ("column", "value", "said"),
    [
        (0, "pictures/none.png", "line 3: there is no image 'pictures/none.png' in "),
        (0, "", "line 3 has no path"),
        (0, "../mine/pictures/train_001.png", "leaves the folder of the images"),
        (0, "/etc/passwd", "line 3: '/etc/passwd' leaves the folder of the images"),
        (0, "C:\\pictures\\a.png", "leaves the folder of the images"),
        (0, "pictures", "line 3: 'pictures' in "),
        (1, "", "line 3 has no label"),
        (2, "tset", "line 3: unknown split 'tset' (allowed: test, train, val; did you mean"),
        (2, "", "line 3: unknown split ''"),
    ],
)
def test_a_line_that_cannot_be_used_is_named(listed, column, value, said):
    change(listed, 3, column, value)
    message = problems_of(listed)
    assert said in message
    assert message.startswith(f"dataset list {listed}: ")
    assert len(message.splitlines()) == 1


def test_lines_too_long_and_too_short_are_named(listed):
    rows = rows_of(listed)
    write_rows(listed, [*rows[:2], rows[2][:1], [*rows[3], "more"], *rows[4:]])
    first, second = problems_of(listed).splitlines()
    assert "line 3 has 1 field, the first line 3 columns (path, label, split)" in first
    assert "line 4 has 4 fields" in second


def test_an_image_listed_twice_is_told_with_what_contradicts(listed):
    rows = rows_of(listed)
    again = [[f"./{rows[1][0]}", "digit 0", "train"], [rows[2][0], "digit 1", "test"]]
    write_rows(listed, [*rows, *again])
    first, second = problems_of(listed).splitlines()
    assert first.endswith("'pictures/train_000.png' is listed twice, in lines 2 and 14")
    assert "in lines 3 and 15, as 'digit 0' and 'digit 1', for train and test" in second


def test_one_class_is_not_enough(tmp_path):
    path = write_list(tmp_path, classes=1)
    assert "has one class only ('digit 0')" in problems_of(path)


def test_a_test_label_that_train_has_not_is_told(listed):
    change(listed, 10, 1, "digit O")
    message = problems_of(listed)
    assert "line 10: train has no class 'digit O' (allowed: digit 0, digit 1" in message
    assert "did you mean" in message


def test_all_problems_come_at_once_and_many_of_a_kind_are_counted(tmp_path):
    path = write_list(tmp_path, per_class=20)
    for picture in (tmp_path / "pictures").glob("train_0[0-2]*.png"):
        picture.unlink()
    change(path, 40, 1, "")
    lines = problems_of(path).splitlines()
    assert sum("there is no image" in line for line in lines) == 10
    assert any("20 more lines whose image does not exist" in line for line in lines)
    assert any("line 40 has no label" in line for line in lines)


def test_what_is_sound_can_still_be_looked_at(listed):
    change(listed, 3, 0, "pictures/none.png")
    found = DATASETS["csv"]().inspect(spec_of(listed))
    assert len(found.problems) == 1
    assert len(found.raw.splits["train"]) == 7


def test_an_unknown_option_is_told(listed):
    with pytest.raises(ValueError, match="did you mean 'label_column'"):
        spec_of(listed, labels_column="x")


def test_a_damaged_image_is_named_on_opening(listed):
    (listed.parent / "pictures/train_000.png").write_text("no picture")
    with pytest.raises(UserError, match=r"pictures/train_000.png in dataset folder"):
        load(listed).splits["train"].image(0)
