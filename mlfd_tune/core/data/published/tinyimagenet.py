"""TinyImageNet (Stanford CS231n): 200 classes of ImageNet at 64x64 pixels.

The labels of its own test images were never published. As everybody does, its validation images
are the test split here, and validation is carved from its training images.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from pathlib import Path

from mlfd_tune.core.data.published.wnid_folders import (
    Labelled,
    WnidFolders,
    WnidScan,
    is_wnid,
)
from mlfd_tune.core.data.source import Official
from mlfd_tune.core.errors import nearest

__all__ = ["TinyImageNet"]

ARCHIVE = "tiny-imagenet-200.zip"
COLUMNS = 6  # of val_annotations.txt: file, wnid, and the four edges of the object's box


class TinyImageNet(WnidFolders):
    """The classes are the numbers of ``wnids.txt``, sorted; ``words.txt`` and boxes are not read.

    The validation images may lie as published, in ``val/images`` with ``val/val_annotations.txt``,
    or sorted into ``val/<wnid>/images`` or ``val/<wnid>``, as many people rearrange them.
    """

    name = "tinyimagenet"
    description = "TinyImageNet: 64x64 photographs of 200 classes; its val is the test split"
    marks = ("wnids.txt", "train", "val")
    official = Official(
        classes=200,
        images={"train": 100_000, "test": 10_000},
        home="https://cs231n.stanford.edu/tiny-imagenet-200.zip",
        layout="""\
tiny-imagenet-200/
  wnids.txt
  train/<wnid>/images/<wnid>_<number>.JPEG
  val/images/val_<number>.JPEG
  val/val_annotations.txt""",
        folder="tiny-imagenet-200",
    )

    def scan(self, root: Path) -> WnidScan:
        """Return what lies in the dataset's folder."""
        scan = WnidScan(root)
        has_train = (root / "train").is_dir()
        scan.classes = _classes(scan, has_train)
        if has_train:
            scan.images["train"] = _training(scan)
        else:
            scan.problem("train", f"is missing; unpack {ARCHIVE} again")
        if (root / "val").is_dir():
            scan.images["test"] = _validation(scan)
        else:
            scan.problem("val", f"is missing; unpack {ARCHIVE} again")
        return scan


def _classes(scan: WnidScan, has_train: bool) -> tuple[str, ...]:
    """Return the numbers in wnids.txt; without it, the folders of train, to go on looking."""
    if not (scan.root / "wnids.txt").is_file():
        scan.problem("wnids.txt", f"is missing; unpack {ARCHIVE} again")
        return tuple(filter(is_wnid, scan.entries("train")[1])) if has_train else ()
    scan.lists.append("wnids.txt")
    lines = _lines(scan, "wnids.txt")
    wrong = [(number, line) for number, line in lines if not is_wnid(line)]
    scan.problem("wnids.txt", *(f"line {number}: {line!r} is no wnid" for number, line in wrong))
    counts = Counter(line for _, line in lines)
    twice = [name for name, count in counts.items() if count > 1]
    scan.problem("wnids.txt", *(f"has {name!r} twice" for name in twice))
    scan.classes = tuple(sorted(filter(is_wnid, counts)))
    if not counts:
        scan.problem("wnids.txt", f"names no class; unpack {ARCHIVE} again")
    scan.require_classes("wnids.txt")
    return scan.classes


def _training(scan: WnidScan) -> Labelled:
    files, folders = scan.entries("train")
    for name in files:
        scan.warn(f"train/{name}", "is in no class: ignored")
    _strangers(scan, "train", folders)
    found: Labelled = []
    for label, name in enumerate(scan.classes):
        folder = f"train/{name}/images"
        if (scan.root / folder).is_dir():
            found += [(path, label) for path in scan.images_in(folder)]
        else:
            scan.problem(folder, f"is missing, but wnids.txt has {name}; unpack {ARCHIVE} again")
    return found


def _validation(scan: WnidScan) -> Labelled:
    """Return the validation images in whichever arrangement they lie."""
    _, folders = scan.entries("val")
    sorted_into = [name for name in folders if name != "images"]
    images = scan.entries("val/images")[0] if "images" in folders else []
    if not images and sorted_into:
        return _rearranged(scan, sorted_into)
    scan.problem(
        "val",
        *(f"has folder {name!r} beside val/images; keep only one of them" for name in sorted_into),
    )
    if not images:
        scan.problem("val/images", f"has no images; unpack {ARCHIVE} again")
    if not (scan.root / "val/val_annotations.txt").is_file():
        scan.problem("val/val_annotations.txt", f"is missing; unpack {ARCHIVE} again")
        return []
    scan.lists.append("val/val_annotations.txt")
    return _annotated(scan, images) if images else []


def _rearranged(scan: WnidScan, folders: Iterable[str]) -> Labelled:
    _strangers(scan, "val", folders)
    found: Labelled = []
    for label, name in enumerate(scan.classes):
        folder = f"val/{name}"
        if not (scan.root / folder).is_dir():
            continue
        inner = f"{folder}/images"
        folder = inner if (scan.root / inner).is_dir() else folder
        found += [(path, label) for path in scan.images_in(folder)]
    return found


def _annotated(scan: WnidScan, images: list[str]) -> Labelled:
    where = "val/val_annotations.txt"
    there, label_of = set(images), {name: label for label, name in enumerate(scan.classes)}
    seen: dict[str, int] = {}
    malformed, unknown, absent, twice = [], [], [], []
    for number, line in _lines(scan, where):
        words = line.split("\t")
        if len(words) != COLUMNS:
            malformed.append(
                f"line {number}: {line[:80]!r} has {len(words)} columns between tabs, not {COLUMNS}"
            )
            continue
        name, wnid = words[:2]
        if wnid not in label_of:
            unknown.append(f"line {number}: {wnid!r} is not in wnids.txt{_hint(wnid, label_of)}")
        elif name not in there:
            absent.append(f"line {number}: val/images has no {name!r}{_hint(name, there)}")
        elif name in seen:
            twice.append(f"line {number}: {name!r} has a line before this one")
        seen[name] = label_of.get(wnid, 0)
    for problems in (malformed, unknown, absent, twice):
        scan.problem(where, *problems)
    unlabelled = [name for name in images if name not in seen]
    if not malformed:  # else most of them are told of already
        scan.problem(where, *(f"has no line for val/images/{name}" for name in unlabelled))
    return [(f"val/images/{name}", seen[name]) for name in images if name in seen]


def _strangers(scan: WnidScan, folder: str, names: Iterable[str]) -> None:
    strangers = [name for name in names if name not in scan.classes]
    scan.problem(
        folder,
        *(
            f"has folder {name!r}, which is not in wnids.txt{_hint(name, scan.classes)}"
            for name in strangers
        ),
    )


def _hint(name: str, known: Iterable[str]) -> str:
    near = nearest(name, known)
    return f" (did you mean {near!r}?)" if near else ""


def _lines(scan: WnidScan, file: str) -> list[tuple[int, str]]:
    """Return the lines of a text file that are not blank, with their numbers."""
    try:
        text = (scan.root / file).read_text(encoding="utf-8-sig", errors="replace")
    except OSError as error:
        scan.problem(file, f"cannot be read: {error.strerror}")
        return []
    stripped = ((number, line.strip()) for number, line in enumerate(text.splitlines(), start=1))
    return [(number, line) for number, line in stripped if line]
