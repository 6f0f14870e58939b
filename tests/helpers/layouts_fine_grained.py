"""Small copies of Caltech-101, Flowers-102, CUB-200-2011 and Pets in their official layouts.

Names and formats are the official ones; the pictures are tiles of the photos built-in, which has
60 of each of 17 kinds.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from pathlib import Path

import numpy as np
from PIL import Image
from scipy.io import savemat

from mlfd_tune.core.data import DATASETS, DatasetSpec
from mlfd_tune.core.data.raw import RawDataset

OBJECTS = ("BACKGROUND_Google", "Faces", "Faces_easy", "Leopards", "Motorbikes", "accordion")
OBJECTS += ("airplanes", "anchor", "ant", "barrel", "bass", "beaver", "binocular", "bonsai")
OBJECTS += ("brain", "brontosaurus", "buddha")
BIRDS = ("Black_footed_Albatross", "Laysan_Albatross", "Sooty_Albatross", "Groove_billed_Ani")
BIRDS += ("Crested_Auklet", "Least_Auklet", "Parakeet_Auklet", "Rhinoceros_Auklet")
BIRDS += ("Brewer_Blackbird", "Red_winged_Blackbird", "Rusty_Blackbird", "Yellow_headed_Blackbird")
BIRDS += ("Bobolink", "Indigo_Bunting", "Lazuli_Bunting", "Painted_Bunting", "Cardinal")
BREEDS = ("Abyssinian", "american_bulldog", "american_pit_bull_terrier", "basset_hound", "beagle")
BREEDS += ("Bengal", "Birman", "Bombay", "boxer", "British_Shorthair", "chihuahua", "Egyptian_Mau")
BREEDS += ("english_cocker_spaniel", "english_setter", "german_shorthaired", "great_pyrenees")
BREEDS += ("havanese",)


def write_caltech101(root: Path, classes: int = 3, per_class: int = 10) -> Path:
    """Write ``root/101_ObjectCategories/<class>/*.jpg``; BACKGROUND_Google is one class."""
    for kind, number, image in _pictures(classes, per_class):
        path = root / "101_ObjectCategories" / OBJECTS[kind] / f"image_{number + 1:04d}.jpg"
        _save(image, path)
    return root


def write_flowers102(root: Path, classes: int = 3, per_class: int = 12) -> Path:
    """Write ``root/jpg/image_00001.jpg``, imagelabels.mat and setid.mat.

    A quarter of each class is for training, a quarter for validation and the rest for testing.
    """
    labels: list[int] = []
    ids: dict[str, list[int]] = {"trnid": [], "valid": [], "tstid": []}
    if per_class < 3:
        raise ValueError("a class needs an image in each of three splits")
    quarter = max(1, per_class // 4)
    for kind, number, image in _pictures(classes, per_class):
        labels.append(kind + 1)
        key = "trnid" if number < quarter else "valid" if number < 2 * quarter else "tstid"
        ids[key].append(len(labels))
        _save(image, root / "jpg" / f"image_{len(labels):05d}.jpg")
    write_labels(root, labels)
    write_ids(root, **ids)
    return root


def write_labels(root: Path, labels: Sequence[int]) -> None:
    """Write imagelabels.mat as published: ``labels``, (1, N) uint8, compressed."""
    _write_rows(root / "imagelabels.mat", np.uint8, {"labels": labels})


def write_ids(root: Path, **ids: Sequence[int]) -> None:
    """Write setid.mat as published: ``trnid``, ``valid`` and ``tstid``, (1, N) uint16 each."""
    _write_rows(root / "setid.mat", np.uint16, ids)


def write_cub200(root: Path, classes: int = 3, per_class: int = 10) -> Path:
    """Write ``root/images/<class>/*.jpg`` and the list files; every other image is training."""
    names = [f"{number:03d}.{bird}" for number, bird in enumerate(BIRDS[:classes], 1)]
    images, labels, split = [], [], []
    for identity, (kind, number, image) in enumerate(_pictures(classes, per_class), 1):
        path = f"{names[kind]}/{BIRDS[kind]}_{number + 1:04d}_{796000 + identity}.jpg"
        _save(image, root / "images" / path)
        images.append(f"{identity} {path}")
        labels.append(f"{identity} {kind + 1}")
        split.append(f"{identity} {(number + 1) % 2}")
    _write_lines(root / "images.txt", images)
    _write_lines(root / "image_class_labels.txt", labels)
    _write_lines(root / "train_test_split.txt", split)
    _write_lines(root / "classes.txt", [f"{i} {name}" for i, name in enumerate(names, 1)])
    return root


def write_pets(root: Path, classes: int = 3, per_class: int = 10) -> Path:
    """Write ``root/images/<breed>_1.jpg`` and ``root/annotations/``; the first half is trainval.

    A file that is in no list lies in images/, as in the published dataset.
    """
    rows: dict[str, list[str]] = {"trainval": [], "test": []}
    for kind, number, image in _pictures(classes, per_class):
        name = f"{BREEDS[kind]}_{number + 1}"
        _save(image, root / "images" / f"{name}.jpg")
        species = 1 if BREEDS[kind][0].isupper() else 2
        of_species = [breed for breed in BREEDS if breed[0].isupper() == (species == 1)]
        row = f"{name} {kind + 1} {species} {of_species.index(BREEDS[kind]) + 1}"
        rows["trainval" if number < per_class // 2 else "test"].append(row)
    (root / "images/Abyssinian_100.mat").write_bytes(b"no image")
    (root / "annotations").mkdir()
    for split, lines in rows.items():
        _write_lines(root / "annotations" / f"{split}.txt", lines)
    head = ["#Image CLASS-ID SPECIES BREED ID", "#ID: 1:37 Class ids", "#SPECIES: 1:Cat 2:Dog"]
    _write_lines(root / "annotations/list.txt", [*head, *rows["trainval"], *rows["test"]])
    return root


def _pictures(classes: int, per_class: int) -> Iterator[tuple[int, int, Image.Image]]:
    """Give (kind, number in its kind, picture), the kinds taking turns."""
    raw = _photos()
    images = raw.splits["train"]
    members = [np.flatnonzero(images.labels == kind) for kind in range(len(raw.classes))]
    if not (1 <= classes <= len(members) and 1 <= per_class <= len(members[0])):
        raise ValueError(f"there are {len(members)} kinds of {len(members[0])} pictures")
    for number in range(per_class):
        for kind in range(classes):
            yield kind, number, images.image(int(members[kind][number]))


@cache
def _photos() -> RawDataset:
    return DATASETS["photos"]().load(DatasetSpec(source="photos"))


def _save(image: Image.Image, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    image.save(path, quality=90)


def _write_lines(path: Path, lines: Sequence[str]) -> None:
    path.write_text("".join(f"{line}\n" for line in lines))


def _write_rows(path: Path, dtype: type[np.integer], rows: Mapping[str, Sequence[int]]) -> None:
    arrays = {name: np.array([row], dtype=dtype) for name, row in rows.items()}
    savemat(path, arrays, do_compression=True)
