"""Datasets on disk: ``train/<class>/*``, optionally ``val/`` and ``test/`` of the same form."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from mlfd_tune.core.data.image_files import (
    file_split,
    files_hash,
    folder_of,
    names_in,
    unfit,
)
from mlfd_tune.core.data.raw import RawDataset, RawSplit
from mlfd_tune.core.data.source import Fingerprint, InspectedSource, Inspection
from mlfd_tune.core.errors import UserError, allowed_values, nearest
from mlfd_tune.core.paths import is_folder, not_a_file

if TYPE_CHECKING:
    from mlfd_tune.core.data.spec import DatasetSpec

__all__ = ["Folder"]

SPLITS = ("train", "val", "test")


class Folder(InspectedSource):
    """Images of any format Pillow opens, one folder a class, hidden files ignored.

    The classes are the folders of ``train/``, in sorted order. Images lie directly in them. Links
    are followed wherever they lead: whoever made the folder made them. What is no file in the end,
    such as a named pipe, is an error.
    """

    name = "folder"
    description = "your own images: train/<class>/*, optional val/ and test/"
    flip = False  # nobody knows what is in there
    path = "required"

    def fingerprint(self, spec: DatasetSpec) -> Fingerprint:
        """Return the hash of every image's relative path and content, wherever the folder lies."""
        root = folder_of(spec)
        scan = _scan(root)
        if scan.problems:
            raise UserError(*scan.problems)
        images = [path for paths in scan.images.values() for path in paths]
        return {"source": self.name, "sha256": files_hash(root, images)}

    def inspect(self, spec: DatasetSpec) -> Inspection:
        """Return all structural problems at once, with what can be used in spite of them."""
        try:
            root = folder_of(spec)
            scan = _scan(root)
        except UserError as error:
            return Inspection(None, error.problems)
        raw = RawDataset(
            scan.classes, {name: _split(root, scan, paths) for name, paths in scan.images.items()}
        )
        usable = "train" in raw.splits
        return Inspection(raw if usable else None, tuple(scan.problems), tuple(scan.warnings))


@dataclass
class _Scan:
    """What lies in a dataset folder: relative image paths by split, sorted, and what is wrong."""

    classes: tuple[str, ...] = ()
    images: dict[str, list[str]] = field(default_factory=dict)
    problems: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)


def _scan(root: Path) -> _Scan:
    scan = _Scan()
    if not is_folder(root / "train"):
        folders = [name for name in names_in(root) if is_folder(root / name)]
        near = nearest("train", [name.lower() for name in folders])
        original = next((name for name in folders if name.lower() == near), None)
        hint = f"; is it {original!r}?" if original else ""
        found = ", ".join(folders[:12]) or "none"
        scan.problems.append(f"dataset folder {root} has no folder 'train' (found: {found}{hint})")
        return scan
    scan.classes = tuple(
        name for name in names_in(root / "train") if is_folder(root / "train" / name)
    )
    scan.problems += [
        f"train/{name} in dataset folder {root} {odd}"
        for name in scan.classes
        if (odd := unfit(name))
    ]
    if not scan.classes:
        scan.problems.append(f"train in dataset folder {root} has no class folder: train/<class>/*")
    if len(scan.classes) == 1:
        scan.problems.append(
            f"train in dataset folder {root} has one class only ({scan.classes[0]!r}); "
            "at least two are needed"
        )
    for split in SPLITS:
        if is_folder(root / split):
            _scan_split(root, split, scan)
    return scan


def _scan_split(root: Path, split: str, scan: _Scan) -> None:
    images: list[str] = []
    for name in names_in(root / split):
        folder = f"{split}/{name}"
        if not is_folder(root / folder):
            scan.warnings.append(f"{folder} in dataset folder {root} is in no class: ignored")
        elif name not in scan.classes:
            allowed = allowed_values(name, scan.classes)
            scan.problems.append(
                f"{folder} in dataset folder {root}: train has no class {name!r} {allowed}"
            )
        else:
            images += _scan_class(root, folder, scan)
    if split != "train" and not images:
        scan.problems.append(
            f"{split} in dataset folder {root} has no images; remove it or fill it"
        )
    if images:
        scan.images[split] = images


def _scan_class(root: Path, folder: str, scan: _Scan) -> list[str]:
    names = names_in(root / folder)
    if not names:
        scan.problems.append(f"{folder} in dataset folder {root} is empty: a class needs images")
    images = []
    for name in names:
        wrong = unfit(name) or not_a_file(root / folder / name)
        if wrong is None:
            images.append(f"{folder}/{name}")
        elif wrong == "is a folder":
            scan.problems.append(
                f"{folder}/{name} in dataset folder {root} is a folder; images lie directly in "
                f"{folder}"
            )
        else:
            scan.problems.append(f"{folder}/{name} in dataset folder {root} {wrong}")
    return images


def _split(root: Path, scan: _Scan, paths: list[str]) -> RawSplit:
    label_of = {name: label for label, name in enumerate(scan.classes)}
    return file_split(root, paths, [label_of[path.split("/")[1]] for path in paths])
