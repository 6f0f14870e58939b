"""Published datasets: is a copy in order, where to get one, and downloading it.

Downloads go through torchvision, which knows the archives' addresses and compares their MD5 sums.
"""

from __future__ import annotations

import http.client
import shutil
import socket
import tarfile
import tempfile
import urllib.error
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from mlfd_tune.core.data.registry import DATASETS
from mlfd_tune.core.data.source import Official
from mlfd_tune.core.data.spec import DatasetSpec
from mlfd_tune.core.errors import UserError, allowed_values

__all__ = [
    "Prepared",
    "can_download",
    "download",
    "find",
    "instructions",
    "paths_checked",
    "published_sources",
]

_TIMEOUT = 60.0  # seconds without a byte from the server
_ARCHIVES = (".tgz", ".tar.gz", ".zip")


class _Torchvision(NamedTuple):
    """A dataset class of torchvision, and the folder below its root that it fills."""

    name: str
    folder: str


_FETCHED_BY = {
    "cifar10": _Torchvision("CIFAR10", "cifar-10-batches-py"),
    "cifar100": _Torchvision("CIFAR100", "cifar-100-python"),
    "caltech101": _Torchvision("Caltech101", "caltech101"),
    "flowers102": _Torchvision("Flowers102", "flowers-102"),
    "pets": _Torchvision("OxfordIIITPet", "oxford-iiit-pet"),
}


@dataclass(frozen=True)
class Prepared:
    """A copy of a published dataset that can be used.

    Attributes:
        source: Its source's registry name.
        path: The folder to give as `path`.
        classes: How many classes it has.
        images: Images by split, before any split is carved.
        notes: What differs from the published dataset, one line each.
    """

    source: str
    path: str
    classes: int
    images: dict[str, int]
    notes: tuple[str, ...]


def published_sources() -> dict[str, Official]:
    """Return what every published dataset holds, by its source's name."""
    found = {}
    for name in DATASETS:
        with suppress(UserError):  # of a package that does not work
            if (official := DATASETS[name].official) is not None:
                found[name] = official
    return found


def can_download(source: str) -> bool:
    """Return whether `download` can fetch a published dataset."""
    return source in _FETCHED_BY


def find(source: str, folder: Path) -> Prepared:
    """Return the copy of a published dataset that lies in a folder; no image is opened.

    Raises:
        UserError: There is no such published dataset, or the folder holds no usable copy of it.
    """
    _official(source)
    inspection = DATASETS[source]().inspect(DatasetSpec(source=source, path=str(folder)))
    if inspection.raw is None or inspection.problems:
        raise UserError(*inspection.problems)
    raw = inspection.raw
    images = {split: len(found) for split, found in raw.splits.items()}
    return Prepared(source, str(folder), len(raw.classes), images, inspection.warnings)


def instructions(source: str, folder: Path) -> str:
    """Return in words where to get a published dataset and how to lay it into a folder."""
    official = _official(source)
    counts = " + ".join(f"{count:,} {split}" for split, count in official.images.items())
    tree = "\n".join(f"      {line}" for line in official.layout.strip("\n").splitlines())
    command = f"mlfd-tune data prepare {source} {folder}"
    lines = [
        f"To prepare {source} ({official.classes} classes, {counts} images):",
        f"  1. Take its archive from {official.home}",
        f"  2. Unpack it in {folder}, which then holds:",
        tree,
        f"  3. Check it with: {command}",
    ]
    if can_download(source):
        lines.append(f"Or let it be downloaded: {command} --download")
    return "\n".join(lines)


def download(source: str, folder: Path) -> None:
    """Download a published dataset into a folder, whole or not at all.

    It is fetched and unpacked beside its place, checked, and then moved there.

    Args:
        source: A source for which `can_download` holds.
        folder: The folder to give as `path`; made if missing.

    Raises:
        UserError: The server cannot be reached, sends something else than was published, or the
            folder cannot be written or holds a damaged copy already.
    """
    official = _official(source)
    if source not in _FETCHED_BY:
        raise UserError(f"{source} cannot be downloaded by this command, only by hand")
    target = folder if folder.name == official.folder else folder / official.folder
    if target.exists() and not (target.is_dir() and not any(target.iterdir())):
        raise UserError(f"{target} is there already but not in order; move it away and try again")
    with _staging(target.parent) as staging:
        with _failures_told(source, official):
            _fetch(_FETCHED_BY[source].name, staging)
        fetched = staging / _FETCHED_BY[source].folder
        find(source, fetched)
        with _unwritable_told(target):
            for archive in fetched.iterdir():
                if archive.name.endswith(_ARCHIVES):
                    archive.unlink()
            if target.exists():
                target.rmdir()
            fetched.rename(target)


def _official(source: str) -> Official:
    known = published_sources()
    if source not in known:
        raise UserError(
            f"{source}: no published dataset of this name {allowed_values(source, known)}"
        )
    return known[source]


def _fetch(name: str, root: Path) -> None:
    """Let a dataset class of torchvision download and unpack its archives below `root`."""
    from torchvision import datasets

    before = socket.getdefaulttimeout()
    socket.setdefaulttimeout(_TIMEOUT)  # torchvision sets none, and would wait for ever
    try:
        with paths_checked():
            getattr(datasets, name)(root, download=True)
    finally:
        socket.setdefaulttimeout(before)


@contextmanager
def paths_checked() -> Iterator[None]:
    """Have every tar archive refused that would write outside the folder it is unpacked in.

    Before Python 3.14 that has to be asked for, and not every version of torchvision asks. Zip
    archives are safe anyway: `zipfile` leaves no way out of a folder.
    """
    before = tarfile.TarFile.extraction_filter
    tarfile.TarFile.extraction_filter = staticmethod(tarfile.data_filter)
    try:
        yield
    finally:
        tarfile.TarFile.extraction_filter = before


@contextmanager
def _staging(parent: Path) -> Iterator[Path]:
    """Make a folder in `parent`, which is made too, and take away what is left of both."""
    made = [path for path in (parent, *parent.parents) if not path.exists()]
    staging: Path | None = None
    try:
        with _unwritable_told(parent):
            parent.mkdir(parents=True, exist_ok=True)
            staging = Path(tempfile.mkdtemp(prefix=".mlfd-tune-download-", dir=parent))
        yield staging
    finally:
        if staging is not None:
            shutil.rmtree(staging, ignore_errors=True)
        for path in made:
            with suppress(OSError):  # it holds the dataset now, or was never made
                path.rmdir()


@contextmanager
def _unwritable_told(place: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise UserError(f"{place} cannot be written: {error.strerror or error}") from error


@contextmanager
def _failures_told(source: str, official: Official) -> Iterator[None]:
    """Turn what goes wrong with a download into one line."""
    start = f"{source} cannot be downloaded"
    by_hand = f"try again later or take it by hand from {official.home}"
    try:
        yield
    except urllib.error.HTTPError as error:
        raise UserError(f"{start}: {error.url} answers {error.code}; {by_hand}") from error
    except (
        urllib.error.URLError,
        http.client.HTTPException,
        ConnectionError,
        TimeoutError,
    ) as error:
        reason = getattr(error, "reason", None) or error
        raise UserError(f"{start}: the server is not reached ({reason}); {by_hand}") from error
    except OSError as error:  # a full disk, for one
        raise UserError(f"{start}: it cannot be written: {error.strerror or error}") from error
    except tarfile.FilterError as error:
        raise UserError(f"{start}: its archive would write elsewhere ({error})") from error
    except RuntimeError as error:  # what torchvision raises where a checksum differs
        raise UserError(
            f"{start}: the checksum of what was sent differs from the published one; {by_hand}"
        ) from error
