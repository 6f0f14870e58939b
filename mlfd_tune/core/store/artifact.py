"""An artifact on disk: an immutable folder with a manifest that says what it is and proves it."""

from __future__ import annotations

import hashlib
import json
import os
import platform
from dataclasses import dataclass
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict

__all__ = [
    "MANIFEST",
    "Artifact",
    "Manifest",
    "file_digest",
    "library_versions",
    "write_atomically",
]

MANIFEST = "manifest.json"
_BLOCK = 1 << 20


class FileEntry(BaseModel):
    """Size and checksum of one file of an artifact."""

    model_config = ConfigDict(frozen=True)
    bytes: int
    sha256: str


class Manifest(BaseModel):
    """What an artifact is made of and where it came from.

    Attributes:
        key: The artifact's content address.
        stage: Name of the stage that wrote it.
        version: The stage's code version.
        label: A few words for people.
        dataset: The dataset it belongs to, if one.
        spec: The stage's spec, as JSON.
        inputs: Keys of the input artifacts.
        reads: Keys of the artifacts it was computed from in place of inputs that are not stored.
        metrics: Final metrics, such as ``val/acc1`` in percent.
        history: One dict of metrics per epoch.
        files: Every file with size in bytes and sha256.
        seconds: Wall time spent computing it, over all attempts but those that were killed.
        created: Unix time in seconds.
        versions: Library versions it was computed with.
    """

    model_config = ConfigDict(frozen=True)
    key: str
    stage: str
    version: int
    label: str
    dataset: str | None = None
    spec: dict[str, Any]
    inputs: dict[str, str]
    reads: dict[str, str] = {}
    metrics: dict[str, float]
    history: list[dict[str, float]]
    files: dict[str, FileEntry]
    seconds: float
    created: float
    versions: dict[str, str]

    @property
    def below(self) -> tuple[str, ...]:
        """Keys of the artifacts it was computed from, in whatever place of an input."""
        stored = [
            key
            for name, key in self.inputs.items()
            if not any(read.startswith(f"{name}/") for read in self.reads)
        ]
        return (*stored, *self.reads.values())

    @property
    def bytes(self) -> int:
        """Total size of the files in bytes."""
        return sum(entry.bytes for entry in self.files.values())


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
            ValueError: The manifest is not what this version writes.
        """
        return cls(path, Manifest.model_validate_json((path / MANIFEST).read_bytes()))

    @property
    def key(self) -> str:
        """The artifact's content address."""
        return self.manifest.key

    def damage(self) -> str | None:
        """Return what is wrong with the files, or None when sizes and checksums are right."""
        for name, entry in self.manifest.files.items():
            file = self.path / name
            if not file.is_file():
                return f"{name} is missing"
            if file.stat().st_size != entry.bytes:
                return f"{name} has {file.stat().st_size} bytes instead of {entry.bytes}"
            if file_digest(file) != entry.sha256:
                return f"{name} has a wrong checksum"
        return None


def file_digest(path: Path) -> str:
    """Return the sha256 of a file as hex digits."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(_BLOCK):
            digest.update(block)
    return digest.hexdigest()


def describe_files(folder: Path) -> dict[str, FileEntry]:
    """Return size and checksum of every file below `folder`, after forcing them to disk."""
    entries = {}
    for file in sorted(path for path in folder.rglob("*") if path.is_file()):
        _fsync(file)
        name = file.relative_to(folder).as_posix()
        entries[name] = FileEntry(bytes=file.stat().st_size, sha256=file_digest(file))
    return entries


def write_atomically(path: Path, data: bytes) -> None:
    """Write a file so that a reader or a crash sees the old content or the new, never half."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    with temporary.open("wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    temporary.replace(path)


def write_manifest(folder: Path, manifest: Manifest) -> None:
    """Write the manifest into an artifact's folder and force it to disk."""
    text = json.dumps(manifest.model_dump(mode="json"), indent=1, sort_keys=True)
    write_atomically(folder / MANIFEST, text.encode())
    _fsync(folder)


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


def _fsync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
