"""An artifact on disk: an immutable folder with a manifest that says what it is and proves it."""

from __future__ import annotations

import os
import platform
from dataclasses import dataclass
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from mlfd_tune.core.store.files import (
    contents,
    file_digest,
    force_to_disk,
    is_plain_file,
    write_atomically,
)
from mlfd_tune.core.store.manifest import MANIFEST, FileEntry, Manifest, decode, encode

__all__ = [
    "MANIFEST",
    "Artifact",
    "Manifest",
    "examine",
    "file_digest",
    "library_versions",
    "seal",
    "write_atomically",
]

Signature = frozenset[tuple[str, int, int, int]]
"""Name, size in bytes, time of the last change in ns, and inode of every file."""


@dataclass(frozen=True)
class Artifact:
    """A published artifact: its folder and its manifest."""

    path: Path
    manifest: Manifest

    @classmethod
    def open(cls, path: Path) -> Artifact:
        """Read the manifest of the artifact in `path`.

        Raises:
            OSError: There is no manifest.
            ValueError: The manifest is damaged, or not what this version writes.
        """
        file = path / MANIFEST
        if not is_plain_file(file.lstat()):  # a pipe would be waited for
            raise ValueError("it is no plain file")
        return cls(path, decode(file.read_bytes()))

    @property
    def key(self) -> str:
        """The artifact's content address."""
        return self.manifest.key

    def damage(self) -> str | None:
        """Return what is wrong with the files, or None when all are there and none else."""
        found = contents(self.path)
        for name, entry in self.manifest.files.items():
            status = found.pop(name, None)
            if status is None:
                return f"{_shown(name)} is missing"
            if not is_plain_file(status):
                return f"{_shown(name)} is a link or a device instead of a file"
            if status.st_size != entry.bytes:
                return f"{_shown(name)} has {status.st_size} bytes instead of {entry.bytes}"
            if file_digest(self.path / name) != entry.sha256:
                return f"{_shown(name)} has a wrong checksum"
        found.pop(MANIFEST, None)
        return f"{_shown(min(found))} does not belong to it" if found else None

    def signature(self) -> Signature:
        """Return what changes when a file is written to: cheap, and less than a checksum."""
        return frozenset(
            (name, status.st_size, status.st_mtime_ns, status.st_ino)
            for name, status in contents(self.path).items()
        )


def examine(path: Path, known: Signature | None = None) -> tuple[Artifact | None, str]:
    """Return the artifact in ``<stage>/<key>`` if it is sound, else None and what is wrong with it.

    Args:
        path: The folder.
        known: The signature of when its checksums were right; they are not looked at again where
            it is still the same.

    Raises:
        PermissionError: It may not be read.
    """
    if path.is_symlink() or not path.is_dir():
        return None, "it is no folder"
    try:
        artifact = Artifact.open(path)
    except FileNotFoundError:
        return None, "it has no manifest"
    except PermissionError:
        raise
    except (OSError, ValueError):
        return None, "its manifest cannot be read"
    if (artifact.key, artifact.manifest.stage) != (path.name, path.parent.name):
        return None, f"its manifest is that of {_shown(artifact.key[:12])}"
    try:
        if known is not None and artifact.signature() == known:
            return artifact, ""
        damage = artifact.damage()
    except PermissionError:
        raise
    except OSError as error:  # such as a sector that the disk cannot read
        damage = f"{_shown(Path(error.filename or path).name)} cannot be read: {error.strerror}"
    return (None, damage) if damage else (artifact, "")


def describe_files(folder: Path) -> dict[str, FileEntry]:
    """Return size and checksum of every file below `folder`, after forcing them to disk.

    Raises:
        ValueError: Something is no plain file.
    """
    entries = {}
    for name, status in sorted(contents(folder).items()):
        if not is_plain_file(status):
            raise ValueError(f"{_shown(name)} is no plain file")
        force_to_disk(folder / name)
        entries[name] = FileEntry(bytes=status.st_size, sha256=file_digest(folder / name))
    return entries


def seal(folder: Path, manifest: Manifest) -> None:
    """Write the manifest into an artifact's folder and force all names there to disk."""
    write_atomically(folder / MANIFEST, encode(manifest))
    for below, _, _ in os.walk(folder):
        force_to_disk(Path(below))


@cache
def library_versions() -> dict[str, str]:
    """Return the versions of the libraries that decide a result's numbers."""
    versions = {"python": platform.python_version()}
    for name in ("mlfd-tune", "torch", "torchvision", "timm", "numpy"):
        try:
            versions[name] = version(name)
        except PackageNotFoundError:  # such as mlfd-tune run from a folder, not installed
            continue
    return versions


def _shown(name: str) -> str:
    return name if name.isprintable() else ascii(name)
