"""`mlfd-tune data`: lists, checks with a contact sheet, and prepares datasets."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result
from PIL import Image

from mlfd_tune.cli import main
from tests.helpers.command import write_yaml
from tests.helpers.folders import write_folder_dataset
from tests.helpers.layouts_cifar import write_cifar10
from tests.helpers.layouts_lists import write_list, write_saved


def run(*arguments: str, code: int = 0) -> Result:
    result = CliRunner().invoke(main, ["data", *arguments], catch_exceptions=False)
    assert result.exit_code == code, result.output
    return result


def read(*arguments: str, code: int = 0) -> Any:
    return json.loads(run(*arguments, "--json", code=code).stdout)


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "120")
    return tmp_path


def test_the_list_shows_what_published_datasets_hold() -> None:
    rows = {row["name"]: row for row in read("list")}
    assert rows["cifar100"]["train_images"] == 50_000
    assert rows["csv"]["path"] == "required"
    assert "50000" in run("list").stdout


def test_the_fields_of_the_json_are_told_in_the_help() -> None:
    write_folder_dataset(Path("pictures"), "digits", 2, 6)
    fields = {
        "list": read("list")[0],
        "check": read("check", "pictures")[0],
        "prepare": read("prepare", "cifar10", str(write_cifar10(Path("small")))),
    }
    missing = read("prepare", "cifar10", "none", code=2)
    fields["prepare"] |= missing
    for command, names in fields.items():
        told = run(command, "--help").stdout
        assert [name for name in names if name not in told] == []
    images = read("check", "pictures")[0]["images"]
    assert [name for name in images if name not in run("check", "--help").stdout] == []


def test_a_folder_a_list_and_a_source_with_a_path_can_be_checked() -> None:
    write_folder_dataset(Path("pictures"), "digits", 2, 6)
    write_list(Path("mine"), per_class=6)
    write_saved(Path("saved"))
    write_cifar10(Path("small"))
    for what, source in (
        ("pictures", "folder"),
        ("mine/list.csv", "csv"),
        ("huggingface:saved", "huggingface"),
        ("cifar10:small", "cifar10"),
    ):
        (report,) = read("check", what)
        assert (report["ok"], report["source"]) == (True, source)


def test_a_report_tells_of_sizes_colours_problems_and_notes() -> None:
    write_folder_dataset(Path("pictures"), "digits", 2, 6)
    assert "images: all 8 x 8 pixels; 0 in colour, 12 grey" in run("check", "pictures").stdout
    Image.new("RGB", (30, 9), "red").save("pictures/train/0/red.png")
    Path("pictures/train/1/bad.png").write_text("none")
    told = run("check", "pictures", code=2).stdout
    assert "2 sizes, sides of 8 to 30 pixels, median 8; 1 in colour, 12 grey" in told
    assert "pictures: cannot be used; 2 classes" in told
    assert "error: train/1/bad.png in dataset folder pictures" in told


def test_an_experiment_s_classes_and_styles_are_honoured() -> None:
    datasets = {
        "some": {"source": "digits", "classes": ["7", "1"]},
        "inverse": {"source": "digits", "style": "invert"},
    }
    write_yaml(Path("exp.yaml"), {"kind": "train", "target": "some", "datasets": datasets})
    some, inverse = read("check", "exp.yaml", "--sheet", "sheets/all.png")
    assert some["classes"] == ["7", "1"]
    assert some["sheet"] == "sheets/all-some.png"
    with Image.open("sheets/all-some.png") as one, Image.open("sheets/all-inverse.png") as other:
        assert one.height < other.height
    assert inverse["images"]["grey"] == 1797


def test_a_sheet_is_drawn_even_where_an_image_is_damaged() -> None:
    write_folder_dataset(Path("pictures"), "digits", 2, 6)
    Path("pictures/train/0/0000.png").write_text("none")
    told = run("check", "pictures", "--sheet", "s.png", "--sheet-images", "3", code=2).stdout
    assert "sheet: s.png" in told
    with Image.open("s.png") as sheet:
        narrow = sheet.width
    run("check", "pictures", "--sheet", "s.png", code=2)
    with Image.open("s.png") as sheet:
        assert sheet.width > narrow


def test_no_sheet_is_drawn_of_what_cannot_be_loaded() -> None:
    (report,) = read("check", "folder:none", "--sheet", "s.png", code=2)
    assert report["sheet"] is None
    assert not Path("s.png").exists()


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["check", "digitz"], "digitz: no such folder, CSV file, experiment file or source"),
        (["check", "digitz"], "did you mean 'digits'?"),
        (["check", "csvv:list.csv"], "unknown dataset source 'csvv'"),
        (["check", "csv"], "csv: this source needs a path: csv:PATH"),
        (["check", "digits:data"], "path is not for source 'digits', which needs none"),
        (["check", "csv:"], "path is needed when source is 'csv'"),
        (["check", "none.csv"], "dataset list none.csv does not exist"),
        (["check", "digits", "--sheet", "s.jpg"], "s.jpg: the file's name must end in .png"),
        (["check", "digits", "--sheet", "file/s.png"], "--sheet file/s.png: cannot be written"),
        (["prepare", "cifar1000", "x"], "no published dataset of this name (allowed: caltech101"),
        (["prepare", "digits", "x"], "no published dataset of this name"),
    ],
)
def test_what_cannot_be_is_one_line(arguments: list[str], said: str) -> None:
    Path("file").write_text("in the way")
    assert said in run(*arguments, code=2).output


def test_a_dataset_that_is_there_is_ready_with_the_lines_to_use_it() -> None:
    write_cifar10(Path("small"))
    told = run("prepare", "cifar10", "small").stdout
    assert "cifar10: ready in small; 10 classes; 100 train, 20 test" in told
    assert "note: 100 training images; the published dataset has 50,000" in told
    assert "  datasets:\n    cifar10:\n      source: cifar10\n      path: small\n" in told
    ready = read("prepare", "cifar10", "small")
    assert (ready["ready"], ready["images"]) == (True, {"train": 100, "test": 20})


def test_a_dataset_that_is_missing_is_told_how_to_get() -> None:
    told = run("prepare", "cifar10", "data/cifar", code=2).stderr
    assert told.startswith("error: dataset folder data/cifar does not exist\n")
    assert "https://www.cs.toronto.edu/~kriz/cifar.html" in told
    assert "test_batch" in told
    assert "mlfd-tune data prepare cifar10 data/cifar --download" in told
    assert not Path("data").exists()
    missing = read("prepare", "cifar10", "data/cifar", code=2)
    assert not missing["ready"]
    assert "test_batch" in missing["instructions"]


def test_a_damaged_copy_is_told_with_its_problems() -> None:
    write_cifar10(Path("small"))
    Path("small/cifar-10-batches-py/test_batch").unlink()
    told = run("prepare", "cifar10", "small", code=2).stderr
    assert "error: test_batch in dataset folder small" in told


def test_what_cannot_be_downloaded_is_told_before_the_way_by_hand() -> None:
    told = run("prepare", "cub200", "birds", "--download", code=2).stderr
    assert "error: cub200 cannot be downloaded by this command, only by hand" in told
    assert "CUB_200_2011/" in told


def test_a_ready_dataset_is_not_downloaded_again() -> None:
    write_cifar10(Path("small"))
    assert "ready in small" in run("prepare", "cifar10", "small", "--download").stdout
