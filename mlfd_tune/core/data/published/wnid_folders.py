"""What datasets share whose classes are folders named by WordNet number: ``n01440764/*.JPEG``."""

from __future__ import annotations

import os
import re
from abc import abstractmethod
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, TypeAlias

from mlfd_tune.core.data.image_files import file_split, files_hash, official_folder, unfit
from mlfd_tune.core.data.published.notes import first_few, official_notes
from mlfd_tune.core.data.raw import RawDataset, RawSplit
from mlfd_tune.core.data.source import Fingerprint, InspectedSource, Inspection, Official
from mlfd_tune.core.errors import UserError
from mlfd_tune.core.paths import not_a_file

if TYPE_CHECKING:
    from mlfd_tune.core.data.spec import DatasetSpec

__all__ = ["Labelled", "WnidFolders", "WnidScan", "is_wnid"]

Labelled: TypeAlias = list[tuple[str, int]]
"""Images of one split: their paths below the dataset's folder, and their labels."""

_SUFFIXES = (".jpeg", ".jpg")


def is_wnid(name: str) -> bool:
    """Return whether a name is a WordNet number as ImageNet writes it: n and eight digits."""
    return re.fullmatch(r"n[0-9]{8}", name) is not None


@dataclass
class WnidScan:
    """What lies in a dataset's folder, and what is wrong with it.

    Attributes:
        root: The dataset's folder.
        classes: The classes' WordNet numbers.
        images: The images of every split.
        lists: Text files that decide labels, below `root`.
        problems: What makes `load` fail, one line each.
        warnings: What is odd but allowed, one line each.
    """

    root: Path
    classes: tuple[str, ...] = ()
    images: dict[str, Labelled] = field(default_factory=dict)
    lists: list[str] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)

    def at(self, where: str) -> str:
        """Return a file or folder below the dataset's folder as messages name it; "" is itself."""
        return f"{where} in dataset folder {self.root}" if where else f"dataset folder {self.root}"

    def problem(self, where: str, *what: str) -> None:
        """Note problems of one kind in one file or folder, of many only the first few."""
        place = self.at(where)
        self.problems += first_few([f"{place} {problem}" for problem in what], place)

    def warn(self, where: str, what: str) -> None:
        """Note something odd about a file or folder."""
        self.warnings.append(f"{self.at(where)} {what}")

    def entries(self, folder: str) -> tuple[list[str], list[str]]:
        """Return the names of the files and of the folders in a folder, sorted, no hidden ones."""
        files: list[str] = []
        folders: list[str] = []
        try:
            with os.scandir(self.root / folder) as entries:
                for entry in entries:
                    if not entry.name.startswith("."):
                        (folders if _is_folder(entry) else files).append(entry.name)
        except OSError as error:
            self.problem(folder, f"cannot be listed: {error.strerror}")
            return [], []
        return sorted(files), sorted(folders)

    def images_in(self, folder: str) -> list[str]:
        """Return the paths of the images that lie directly in a class's folder."""
        files, folders = self.entries(folder)
        for name in folders:
            self.problem(f"{folder}/{name}", f"is a folder; images lie directly in {folder}")
        named = [name for name in files if name.lower().endswith(_SUFFIXES)]
        others = [name for name in files if not name.lower().endswith(_SUFFIXES)]
        images = []
        for name in named:
            wrong = unfit(name) or not_a_file(self.root / folder / name)
            if wrong:
                self.problem(f"{folder}/{name}", wrong)
            else:
                images.append(name)
        if not named:
            self.problem(folder, "is empty: a class needs images that end in .JPEG")
        elif others:
            more = f" and {len(others) - 1:,} more" if len(others) > 1 else ""
            self.warn(f"{folder}/{others[0]}{more}", "does not end in .JPEG: ignored")
        return [f"{folder}/{name}" for name in images]

    def require_classes(self, where: str) -> None:
        """Note a problem where there are fewer than two classes."""
        if len(self.classes) == 1:
            self.problem(where, f"has one class only ({self.classes[0]}); at least two are needed")


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:  # a link that leads to itself
        return False


class WnidFolders(InspectedSource):
    """A dataset of such folders: a scan of what lies there gives its images and its problems.

    Attributes:
        name: The source's name.
        version: Raised when the same files give other images or labels.
        marks: Files or folders of which any one tells that they lie in the folder that holds it.
    """

    flip = True
    path = "required"
    name: ClassVar[str]
    version: ClassVar[int] = 1
    marks: ClassVar[tuple[str, ...]]
    official: ClassVar[Official]

    @abstractmethod
    def scan(self, root: Path) -> WnidScan:
        """Return what lies in the dataset's folder."""

    def splits(self, scan: WnidScan, spec: DatasetSpec) -> dict[str, RawSplit]:
        """Return the splits of the images found."""
        return {
            name: file_split(
                scan.root, [path for path, _ in images], [label for _, label in images]
            )
            for name, images in scan.images.items()
            if images
        }

    def fingerprint(self, spec: DatasetSpec) -> Fingerprint:
        """Return the hash of the images' relative paths and contents and of their lists."""
        scan = self.scan(self._root(spec))
        if scan.problems:
            raise UserError(*scan.problems)
        images = [path for found in scan.images.values() for path, _ in found]
        content = files_hash(scan.root, [*scan.lists, *images])
        return {"source": self.name, "version": self.version, "sha256": content}

    def inspect(self, spec: DatasetSpec) -> Inspection:
        """Return all structural problems at once, with what can be used in spite of them."""
        try:
            scan = self.scan(self._root(spec))
        except UserError as error:
            return Inspection(None, error.problems)
        raw = RawDataset(scan.classes, self.splits(scan, spec))
        if "train" not in raw.splits:
            return Inspection(None, tuple(scan.problems), tuple(scan.warnings))
        notes = () if scan.problems else official_notes(self.official, raw)
        return Inspection(raw, tuple(scan.problems), (*scan.warnings, *notes))

    def _root(self, spec: DatasetSpec) -> Path:
        return official_folder(spec, self.official.folder, self.marks)
