"""Datasets on disk: ``train/<class>/*``, optionally ``val/`` and ``test/`` of the same form."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from mlfd_tune.core.data.image_files import file_split, files_hash, folder_of, names_in
from mlfd_tune.core.data.raw import RawDataset, RawSplit
from mlfd_tune.core.data.source import Fingerprint, InspectedSource, Inspection
from mlfd_tune.core.errors import UserError, allowed_values, nearest

if TYPE_CHECKING:
    from mlfd_tune.core.data.spec import DatasetSpec

__all__ = ["Folder"]

SPLITS = ("train", "val", "test")


class Folder(InspectedSource):
    """Images of any format Pillow opens, one folder a class, hidden files ignored.

    The classes are the folders of ``train/``, in sorted order. Images lie directly in them.
    """

    name = "folder"
    description = "your own images: train/<class>/*, optional val/ and test/"
    flip = False  # nobody knows what is in there
    path = "required"

    def fingerprint(self, spec: DatasetSpec) -> Fingerprint:
        """Return the hash of every image's relative path and content, wherever the folder lies."""
        root = folder_of(spec)
        images = [path for paths in _scan(root).images.values() for path in paths]
        return {"source": self.name, "sha256": files_hash(root, images)}

    def inspect(self, spec: DatasetSpec) -> Inspection:
        """Return all structural problems at once, with what can be used in spite of them."""
        try:
            root = folder_of(spec)
        except UserError as error:
            return Inspection(None, error.problems)
        scan = _scan(root)
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
    if not (root / "train").is_dir():
        folders = [name for name in names_in(root) if (root / name).is_dir()]
        near = nearest("train", [name.lower() for name in folders])
        original = next((name for name in folders if name.lower() == near), None)
        hint = f"; is it {original!r}?" if original else ""
        found = ", ".join(folders[:12]) or "none"
        scan.problems.append(f"dataset folder {root} has no folder 'train' (found: {found}{hint})")
        return scan
    scan.classes = tuple(
        name for name in names_in(root / "train") if (root / "train" / name).is_dir()
    )
    if not scan.classes:
        scan.problems.append(f"train in dataset folder {root} has no class folder: train/<class>/*")
    if len(scan.classes) == 1:
        scan.problems.append(
            f"train in dataset folder {root} has one class only ({scan.classes[0]!r}); "
            "at least two are needed"
        )
    for split in SPLITS:
        if (root / split).is_dir():
            _scan_split(root, split, scan)
    return scan


def _scan_split(root: Path, split: str, scan: _Scan) -> None:
    images: list[str] = []
    for name in names_in(root / split):
        folder = f"{split}/{name}"
        if not (root / folder).is_dir():
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
    entries = [f"{folder}/{name}" for name in names_in(root / folder)]
    nested = [entry for entry in entries if (root / entry).is_dir()]
    scan.problems += [
        f"{entry} in dataset folder {root} is a folder; images lie directly in {folder}"
        for entry in nested
    ]
    if not entries:
        scan.problems.append(f"{folder} in dataset folder {root} is empty: a class needs images")
    return [entry for entry in entries if entry not in set(nested)]


def _split(root: Path, scan: _Scan, paths: list[str]) -> RawSplit:
    label_of = {name: label for label, name in enumerate(scan.classes)}
    return file_split(root, paths, [label_of[path.split("/")[1]] for path in paths])
