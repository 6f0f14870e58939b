"""The manifest of an artifact: what it is, where it came from, and a checksum of every byte.

Its file is JSON whose last entry, ``sha256``, is the checksum of all that stands before it. So a
flipped digit in a metric is found out as a flipped bit in a weight is.
"""

from __future__ import annotations

import hashlib
import json
import math
from pathlib import PurePosixPath
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, field_validator

__all__ = ["MANIFEST", "FileEntry", "Manifest", "decode", "encode"]

MANIFEST = "manifest.json"

_CHECKSUM = "sha256"
_TAIL = ',\n "sha256": "{}"\n}}'


class FileEntry(BaseModel):
    """Size and checksum of one file of an artifact."""

    model_config = ConfigDict(frozen=True)
    bytes: Annotated[int, Field(ge=0)]
    sha256: Annotated[str, Field(pattern=r"\A[0-9a-f]{64}\z")]


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

    @field_validator("files")
    @classmethod
    def _stay_inside(cls, files: dict[str, FileEntry]) -> dict[str, FileEntry]:
        for name in files:
            path = PurePosixPath(name)
            if path.is_absolute() or ".." in path.parts or path.as_posix() != name or name == ".":
                raise ValueError(f"{name!r} is no file of the artifact")
        return files

    @field_validator("seconds", "created")
    @classmethod
    def _are_times(cls, value: float) -> float:
        if not math.isfinite(value):
            raise ValueError(f"{value} is no time")
        return value

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


def encode(manifest: Manifest) -> bytes:
    """Return the content of a manifest's file."""
    text = json.dumps(manifest.model_dump(mode="json"), indent=1, sort_keys=True)
    head = text.removesuffix("\n}").encode()
    return head + _tail(head)


def decode(data: bytes) -> Manifest:
    """Return the manifest that a file holds.

    Manifests of earlier versions have no checksum of their own.

    Raises:
        ValueError: It is no manifest, or not as it was written.
    """
    head, _, _ = data.rpartition(_TAIL.partition("{}")[0].encode())
    whole = bool(head) and data == head + _tail(head)
    try:
        content = json.loads(data)
    except RecursionError:
        raise ValueError("it is nested too deeply") from None
    if not isinstance(content, dict):
        raise ValueError("it is no mapping")  # noqa: TRY004  of the file's content
    # Of a manifest without a checksum all names must be known, for one of them may be what is left
    # of "sha256". With one, a later version may have added some.
    if not whole and not content.keys() <= Manifest.model_fields.keys():
        raise ValueError("its checksum is wrong")
    content.pop(_CHECKSUM, None)
    return Manifest.model_validate(content)


def _tail(head: bytes) -> bytes:
    return _TAIL.format(hashlib.sha256(head).hexdigest()).encode()
