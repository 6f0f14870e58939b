"""Lists of images, folders, and the files of published datasets."""

from __future__ import annotations

import os
import shutil
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import strategies as st

from mlfd_tune.core.data import DATASETS, DatasetSpec, check_dataset
from mlfd_tune.core.data.registry import dataset_identity, load_dataset
from tests.helpers.folders import write_folder_dataset
from tests.helpers.fuzzing import Fuzz, attempt
from tests.helpers.fuzzing.documents import TEXTS, Samples, damaged, json_text
from tests.helpers.fuzzing.files import arrow_file, mat_file, parquet_file, sound_pickles
from tests.helpers.layouts_cifar import write_cifar10
from tests.helpers.layouts_fine_grained import write_cub200, write_flowers102, write_pets
from tests.helpers.layouts_imagenet import write_tinyimagenet


def look_at(spec: DatasetSpec, watched: Path) -> None:
    """Ask of a dataset all that is asked of one: twice, since either may come first."""
    attempt(lambda: dataset_identity(spec), watched)
    attempt(lambda: load_dataset(spec), watched)
    attempt(lambda: DATASETS[spec.source]().inspect(spec), watched)


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_folder_dataset(tmp_path_factory.mktemp("pictures") / "set", "digits", 2, 3)


CELLS = (*TEXTS, "train/0/0000.png", "train/1/0001.png", "cat", "dog", "train", "val", "test")
CSV = (
    b"\0",
    b'"',
    b'""',
    b"\r",
    b"\n\n",
    b"\xff",
    b"\xef\xbb\xbf",
    b",",
    b";",
    b"\t",
    b"#",
    b"=1+1",
)


@st.composite
def lists(draw: st.DrawFn) -> bytes:
    header = draw(st.sampled_from(("path,label,split", "path,label", "label;path", "", "a,a,path")))
    cell = st.sampled_from(CELLS) | st.text(max_size=4)
    rows = draw(st.lists(st.lists(cell, min_size=1, max_size=4), max_size=6))
    sound = (
        "train/0/0000.png,cat,train\ntrain/1/0000.png,dog,train\n" if draw(st.booleans()) else ""
    )
    text = "\n".join([header, sound + "\n".join(",".join(row) for row in rows)])
    content = text.encode("utf-8", "surrogatepass")
    for _ in range(draw(st.integers(0, 2))):
        at = draw(st.integers(0, len(content)))
        content = content[:at] + draw(st.sampled_from(CSV)) + content[at:]
    return content


def test_lists(fuzz: Fuzz, pictures: Path) -> None:
    path = pictures / "list.csv"
    spec = DatasetSpec(source="csv", path=str(path))

    def run(content: bytes) -> None:
        path.write_bytes(content)
        look_at(spec, pictures)

    fuzz("CSV lists", lists(), run, whole=8_000, reduced=250)


NAMES = (
    *(
        "a\nb",
        "\x1b[2J",
        "\udcff",
        "x" * 255,
        "-rf",
        "%s",
        "=1+1",
        "日本",
        "a b",
        ".hidden",
        "\u202eb",
    ),
    *("train", "val", "0", "1", "a.png", "b.JPG", "c", "~", "'", '"', "$(id)", "*", "\\"),
)
KINDS = ("file", "picture", "folder", "pipe", "socket", "loop", "out", "dead", "zero", "device")


def put(kind: str, place: Path, picture: Path) -> None:
    """Put something into a dataset's folder, where nothing is yet.

    What is there may be a link, and is never written through.
    """
    if os.path.lexists(place):
        return
    if kind == "folder":
        place.mkdir()
    elif kind == "file":
        place.write_bytes(b"no picture")
    elif kind == "zero":
        place.touch()
    elif kind == "pipe":
        os.mkfifo(place)
    elif kind == "socket":
        socket.socket(socket.AF_UNIX).bind(str(place))
    elif kind == "picture":
        shutil.copy(picture, place)
    else:
        targets = {
            "loop": place.name,
            "out": picture,
            "dead": "nowhere",
            "device": "/dev/null",
        }
        place.symlink_to(targets[kind])


def test_folders(fuzz: Fuzz, pictures: Path, tmp_path: Path) -> None:
    picture = pictures / "train/0/0000.png"
    places = (
        "",
        "train",
        "train/0",
        "train/1",
        "val",
        "val/0",
        "test",
        "train/0/deep",
        "train/new",
    )
    entries = st.tuples(st.sampled_from(places), st.sampled_from(NAMES), st.sampled_from(KINDS))

    def run(given: tuple[list[tuple[str, str, str]], bool]) -> None:
        root = tmp_path / "set"
        shutil.rmtree(root, ignore_errors=True)
        if given[1]:
            shutil.copytree(pictures / "train", root / "train")
        for folder, name, kind in given[0]:
            try:
                (root / folder).mkdir(parents=True, exist_ok=True)
                put(kind, root / folder / name, picture)
            except (OSError, ValueError):
                continue
        for source in ("folder", "imagenet_sketch", "caltech101"):
            look_at(DatasetSpec(source=source, path=str(root)), root)

    given = st.tuples(st.lists(entries, max_size=6), st.booleans())
    fuzz("dataset folders", given, run, whole=2_000, reduced=60)


def test_paths(fuzz: Fuzz, tmp_path: Path) -> None:
    sources = [name for name in DATASETS if DATASETS[name].path != "none"]

    def run(given: tuple[str, str]) -> None:
        spec = DatasetSpec(source=given[0], path=given[1])
        look_at(spec, tmp_path)
        attempt(lambda: check_dataset("x", spec), tmp_path)

    texts = st.sampled_from([text for text in TEXTS if text]) | st.text(min_size=1)
    fuzz("paths", st.tuples(st.sampled_from(sources), texts), run, whole=2_000, reduced=100)


def published(
    tmp_path: Path, write: Callable[[Path], Any], source: str, files: tuple[str, ...]
) -> tuple[Callable[[tuple[int, bytes]], None], list[bytes]]:
    """Return what tries a damaged file of a published dataset, and the sound files."""
    root = tmp_path / "set"
    write(root)
    paths = [next(root.rglob(file)) for file in files]  # some lie in a folder of the archive's
    sound = [path.read_bytes() for path in paths]
    spec = DatasetSpec(source=source, path=str(root))

    def run(given: tuple[int, bytes]) -> None:
        number, content = given
        path = paths[number]
        path.write_bytes(content)
        attempt(lambda: load_dataset(spec), tmp_path)
        path.write_bytes(sound[number])

    return run, sound


def one_of(contents: list[bytes]) -> st.SearchStrategy[tuple[int, bytes]]:
    def bad(number: int) -> st.SearchStrategy[tuple[int, bytes]]:
        return damaged(Samples([contents[number]])).map(lambda content: (number, content))

    return st.integers(0, len(contents) - 1).flatmap(bad)


@pytest.mark.parametrize(
    ("source", "write", "files"),
    [
        (
            "cub200",
            write_cub200,
            ("images.txt", "image_class_labels.txt", "classes.txt", "train_test_split.txt"),
        ),
        ("pets", write_pets, ("annotations/trainval.txt", "annotations/test.txt")),
        ("tinyimagenet", write_tinyimagenet, ("wnids.txt", "val/val_annotations.txt")),
        ("flowers102", write_flowers102, ("imagelabels.mat", "setid.mat")),
    ],
)
def test_list_files_of_published_datasets(
    fuzz: Fuzz, tmp_path: Path, source: str, write: Callable[[Path], Any], files: tuple[str, ...]
) -> None:
    run, sound = published(tmp_path, write, source, files)
    fuzz(f"list files of {source}", one_of(sound), run, whole=1_000, reduced=50)


def test_matlab_files(fuzz: Fuzz, tmp_path: Path) -> None:
    root = tmp_path / "set"
    write_flowers102(root)
    spec = DatasetSpec(source="flowers102", path=str(root))

    def run(content: bytes) -> None:
        (root / "imagelabels.mat").write_bytes(content)
        attempt(lambda: load_dataset(spec), tmp_path)

    fuzz("MATLAB files, deflated anew", mat_file(), run, whole=5_000, reduced=150)


def test_pickles(fuzz: Fuzz, tmp_path: Path) -> None:
    root = tmp_path / "set"
    write_cifar10(root)
    spec = DatasetSpec(source="cifar10", path=str(root))
    file = next(root.rglob("batches.meta"))

    def run(content: bytes) -> None:
        file.write_bytes(content)
        attempt(lambda: load_dataset(spec), tmp_path)

    sound = sound_pickles(file.read_bytes())
    fuzz("pickles of CIFAR", damaged(sound, most=6), run, whole=5_000, reduced=150)


SAVED = Samples(
    [
        {"splits": ["train", "test"]},
        {"_data_files": [{"filename": "data.arrow"}], "_split": "train"},
        {"_data_files": ["data.arrow"], "_fingerprint": "x"},
    ]
)


def test_json_of_saved_datasets(fuzz: Fuzz, tmp_path: Path) -> None:
    spec = DatasetSpec(source="huggingface", path=str(tmp_path))

    def run(given: tuple[str, bytes]) -> None:
        (tmp_path / "state.json").write_text('{"_data_files": [{"filename": "data.arrow"}]}')
        (tmp_path / "dataset_dict.json").unlink(missing_ok=True)
        (tmp_path / given[0]).write_bytes(given[1])
        look_at(spec, tmp_path)

    names = st.sampled_from(("state.json", "dataset_dict.json"))
    given = st.tuples(names, json_text(SAVED))
    fuzz("JSON of saved datasets", given, run, whole=2_000, reduced=100)


@pytest.mark.parametrize("ending", ["arrow", "parquet"])
def test_tables(fuzz: Fuzz, tmp_path: Path, ending: str) -> None:
    spec = DatasetSpec(source="huggingface", path=str(tmp_path))
    path = tmp_path / f"train.{ending}"
    if ending == "arrow":
        (tmp_path / "state.json").write_text('{"_data_files": [{"filename": "train.arrow"}]}')

    def run(content: bytes) -> None:
        path.unlink(missing_ok=True)  # the last one may still be mapped
        path.write_bytes(content)
        look_at(spec, tmp_path)
        attempt(lambda: check_dataset("x", spec), tmp_path)
        pa.default_memory_pool().release_unused()

    made = arrow_file() if ending == "arrow" else parquet_file()
    fuzz(f"{ending} tables", made, run, whole=2_000, reduced=60)
