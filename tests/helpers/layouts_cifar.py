"""Small copies of CIFAR-10 and CIFAR-100 in both of their official forms.

The files are what the publisher's own program would write: pickles in the words of Python 2 and
NumPy 1, and records of label bytes and pixel planes. CIFAR-10's pictures are tiles of ten of the
photos; CIFAR-100's are twenty of the letters (the coarse classes), each in five poses.
"""

from __future__ import annotations

import io
import pickle
from collections.abc import Callable, Sequence
from functools import cache
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps

from mlfd_tune.core.data import DATASETS, DatasetSpec
from mlfd_tune.core.data.raw import RawDataset

CLASSES = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")
POSES: tuple[Callable[[Image.Image], Image.Image], ...] = (
    lambda image: image,
    lambda image: image.transpose(Image.Transpose.ROTATE_90),
    lambda image: image.transpose(Image.Transpose.ROTATE_180),
    lambda image: image.transpose(Image.Transpose.ROTATE_270),
    ImageOps.invert,
)

Pictures = list[tuple[int, str, NDArray[np.uint8]]]
"""Class, file name and 3,072 bytes of pixels of every image, the classes one after the other."""


def write_cifar10(root: Path, per_class: int = 10, test_per_class: int = 2) -> Path:
    """Write ``root/cifar-10-batches-py``; the training images are spread over its five batches."""
    folder = root / "cifar-10-batches-py"
    train, test = (
        _photographs(split, count)
        for split, count in (("train", per_class), ("test", test_per_class))
    )
    for number in range(1, 6):
        label = f"training batch {number} of 5"
        _write_batch(folder / f"data_batch_{number}", label, train[number - 1 :: 5])
    _write_batch(folder / "test_batch", "testing batch 1 of 1", test)
    meta = {"num_cases_per_batch": len(train) // 5, "label_names": list(CLASSES), "num_vis": 3072}
    write_pickle(folder / "batches.meta", meta)
    (folder / "readme.html").write_text("<meta>\n")
    return root


def write_cifar10_binary(root: Path, per_class: int = 10, test_per_class: int = 2) -> Path:
    """Write ``root/cifar-10-batches-bin``, with the images of `write_cifar10` in its order."""
    folder = root / "cifar-10-batches-bin"
    train = _photographs("train", per_class)
    for number in range(1, 6):
        _write_records(folder / f"data_batch_{number}.bin", train[number - 1 :: 5], ())
    _write_records(folder / "test_batch.bin", _photographs("test", test_per_class), ())
    (folder / "batches.meta.txt").write_text("\n".join(CLASSES) + "\n\n")
    return root


def write_cifar100(root: Path, per_class: int = 3, test_per_class: int = 1) -> Path:
    """Write ``root/cifar-100-python``; five fine classes in a row have one coarse class."""
    folder = root / "cifar-100-python"
    for file, label, count in (
        ("train", "training batch 1 of 1", per_class),
        ("test", "testing batch 1 of 1", test_per_class),
    ):
        _write_batch(folder / file, label, _letters(file, count), fine=True)
    names = {"fine_label_names": _fine_names(), "coarse_label_names": _coarse_names()}
    write_pickle(folder / "meta", names)
    return root


def write_cifar100_binary(root: Path, per_class: int = 3, test_per_class: int = 1) -> Path:
    """Write ``root/cifar-100-binary``, with the images of `write_cifar100` in its order."""
    folder = root / "cifar-100-binary"
    for split, count in (("train", per_class), ("test", test_per_class)):
        pictures = _letters(split, count)
        _write_records(folder / f"{split}.bin", pictures, [label // 5 for label, *_ in pictures])
    (folder / "fine_label_names.txt").write_text("\n".join(_fine_names()) + "\n")
    (folder / "coarse_label_names.txt").write_text("\n".join(_coarse_names()) + "\n")
    return root


def write_pickle(path: Path, content: Any) -> None:
    """Write a pickle as Python 2 and NumPy 1 did: texts are strings of bytes."""
    buffer = io.BytesIO()
    _Python2Pickler(buffer, protocol=2).dump(content)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(buffer.getvalue().replace(b"cnumpy._core.", b"cnumpy.core."))


class _Python2Pickler(pickle._Pickler):  # the one written in Python, whose words can be replaced
    dispatch: ClassVar[dict[type, Any]] = dict(pickle._Pickler.dispatch)

    def save_string(self, text: str | bytes) -> None:
        data = text.encode("latin1") if isinstance(text, str) else text
        self.write(pickle.BINSTRING + len(data).to_bytes(4, "little") + data)
        self.memoize(text)

    dispatch[str] = dispatch[bytes] = save_string


def _write_batch(path: Path, batch_label: str, pictures: Pictures, fine: bool = False) -> None:
    labels = [label for label, *_ in pictures]
    content = {
        "batch_label": batch_label,
        **({"fine_labels": labels} if fine else {"labels": labels}),
        **({"coarse_labels": [label // 5 for label in labels]} if fine else {}),
        "data": np.stack([pixels for *_, pixels in pictures]),
        "filenames": [name for _, name, _ in pictures],
    }
    write_pickle(path, content)


def _write_records(path: Path, pictures: Pictures, coarse: Sequence[int]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    columns = [*([coarse] if coarse else []), [label for label, *_ in pictures]]
    labels = np.array(columns, dtype=np.uint8).T
    pixels = np.stack([pixels for *_, pixels in pictures])
    path.write_bytes(np.hstack([labels, pixels]).tobytes())


def _photographs(split: str, per_class: int) -> Pictures:
    chosen = _chosen("photos", split, len(CLASSES), per_class)
    return [
        (label, f"{CLASSES[label]}_s_{split}_{number:06d}.png", _planes(image))
        for label, number, image in chosen
    ]


def _letters(split: str, per_class: int) -> Pictures:
    return [
        (
            label * 5 + pose,
            f"{'abcde'[pose]}_{chr(97 + label)}_s_{number:06d}.png",
            _planes(turn(image)),
        )
        for label, number, image in _chosen("letters", split, 20, per_class)
        for pose, turn in enumerate(POSES)
    ]


def _fine_names() -> list[str]:
    return [f"{letter}_{pose}" for letter in _coarse_names() for pose in range(5)]


def _coarse_names() -> list[str]:
    return [f"letter_{letter}" for letter in "abcdefghijklmnopqrst"]


def _planes(image: Image.Image) -> NDArray[np.uint8]:
    small = image.convert("RGB").resize((32, 32), Image.Resampling.BILINEAR)
    return np.asarray(small, dtype=np.uint8).transpose(2, 0, 1).reshape(-1)


def _chosen(
    source: str, split: str, classes: int, per_class: int
) -> list[tuple[int, int, Image.Image]]:
    """Return label, number within the class, and picture of the first images of each class."""
    images = _loaded(source).splits[split]
    found = []
    for label in range(classes):
        members = np.flatnonzero(images.labels == label)[:per_class].tolist()
        if len(members) < per_class:
            raise ValueError(f"{source} has {len(members)} {split} images of a class")
        found += [(label, number, images.image(index)) for number, index in enumerate(members)]
    return found


@cache
def _loaded(source: str) -> RawDataset:
    return DATASETS[source]().load(DatasetSpec(source=source))
