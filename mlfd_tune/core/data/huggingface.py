"""Datasets of the Hugging Face hub that lie on disk, read without that library and the network.

Two layouts: what ``save_to_disk`` of a Dataset or a DatasetDict writes, Arrow files beside a
``state.json``; and the clone of a dataset repository with Parquet files, such as
``data/train-00000-of-00001.parquet``. Both hold the names of the classes and the image files as
they were. No code of a repository is run.
"""

from __future__ import annotations

import hashlib
import io
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from PIL import Image
from pydantic import Field

from mlfd_tune.core.data.arrow_columns import Columns, Labels, columns_of, labels_of
from mlfd_tune.core.data.arrow_folders import NAMES, choose_splits, find_splits
from mlfd_tune.core.data.arrow_tables import ArrowTable
from mlfd_tune.core.data.decode import UnreadableImageError, read_image
from mlfd_tune.core.data.image_files import folder_of
from mlfd_tune.core.data.raw import RawDataset, RawSplit
from mlfd_tune.core.data.relative_paths import leaves_folder
from mlfd_tune.core.data.source import DatasetSource, Fingerprint, Inspection
from mlfd_tune.core.errors import UserError
from mlfd_tune.core.paths import not_a_file
from mlfd_tune.core.spec import Spec

if TYPE_CHECKING:
    from mlfd_tune.core.data.spec import DatasetSpec

__all__ = ["HuggingFace"]


class HuggingFaceOptions(Spec):
    """Which columns and splits of the dataset to read."""

    image_column: str | None = Field(
        default=None, description="Column of the images; null for the only one."
    )
    label_column: str | None = Field(
        default=None,
        description="Column of the labels; null for the only one that names its classes.",
    )
    train_split: str = Field(default=NAMES["train"][0], description="The split to train on.")
    val_split: str | None = Field(
        default=NAMES["val"][0],
        description="The split to validate on, where there is one; null to carve it from train.",
    )
    test_split: str | None = Field(
        default=NAMES["test"][0],
        description="The split to test on, where there is one; null to carve it from train.",
    )


class HuggingFace(DatasetSource):
    """A dataset's folder, in one of the layouts above."""

    name = "huggingface"
    description = "a Hugging Face dataset on disk: save_to_disk, or a clone with Parquet files"
    flip = False  # nobody knows what is in there
    path = "required"
    Options = HuggingFaceOptions

    def fingerprint(self, spec: DatasetSpec) -> Fingerprint:
        """Return the hash of classes, labels and image files, however they are stored."""
        found = _open(spec, self.options(spec))
        content = hashlib.sha256("\0".join(found.labels.classes).encode())
        for split, table in found.tables.items():
            values = table.column(found.columns.image)
            labels = found.labels.splits[split].tolist()
            for row, (value, label) in enumerate(zip(values, labels, strict=True)):
                image = hashlib.sha256(_file(value, found.root, f"{split}/{row}")).hexdigest()
                content.update(f"{split}\0{label}\0{image}\n".encode())
        return {"source": self.name, "sha256": content.hexdigest()}

    def load(self, spec: DatasetSpec) -> RawDataset:
        """Return the chosen splits; whether images are sound shows on opening them."""
        return _raw(_open(spec, self.options(spec)))

    def inspect(self, spec: DatasetSpec) -> Inspection:
        """Return what `load` would, and which splits are left unread."""
        try:
            found = _open(spec, self.options(spec))
        except UserError as error:
            return Inspection(None, error.problems)
        warnings = tuple(f"split {name!r} of {spec.shown} is not used" for name in found.unused)
        return Inspection(_raw(found), (), warnings)


class _Found(NamedTuple):
    """A dataset whose files, columns and labels are in order."""

    root: Path
    tables: dict[str, ArrowTable]
    columns: Columns
    labels: Labels
    unused: list[str]


def _open(spec: DatasetSpec, options: HuggingFaceOptions) -> _Found:
    if find_spec("pyarrow") is None:
        raise UserError(
            "dataset source 'huggingface' needs pyarrow: run pip install 'mlfd-tune[huggingface]'"
        )
    root, where = folder_of(spec), spec.shown
    files = find_splits(root, where)
    wanted = {split: getattr(options, f"{split}_split") for split in NAMES}
    chosen, problems = choose_splits(files, wanted, where)
    if problems:
        raise UserError(*problems)
    tables = {split: ArrowTable(files[name], where) for split, name in chosen.items()}
    empty = [split for split, table in tables.items() if len(table) == 0]
    if empty:
        raise UserError(*(f"{where}: split {chosen[split]!r} has no rows" for split in empty))
    columns = columns_of(tables["train"], options.image_column, options.label_column, where)
    lacking = [
        f"{where}: split {chosen[split]!r} has no column {column!r}, which train has"
        for split, table in tables.items()
        for column in columns
        if column not in table.schema.names
    ]
    if lacking:
        raise UserError(*lacking)
    unused = [name for name in files if name not in chosen.values()]
    return _Found(root, tables, columns, labels_of(tables, columns.label, where), unused)


def _raw(found: _Found) -> RawDataset:
    return RawDataset(found.labels.classes, {split: _split(found, split) for split in found.tables})


def _split(found: _Found, split: str) -> RawSplit:
    table, labels = found.tables[split], found.labels.splits[split]
    names = tuple(f"{split}/{row}" for row in range(len(table)))

    def open_image(row: int) -> Image.Image:
        content = _file(table.value(found.columns.image, row), found.root, names[row])
        try:
            return read_image(io.BytesIO(content))
        except (UnreadableImageError, OSError) as error:
            raise UserError(f"{names[row]} in dataset folder {found.root} {error}") from error

    return RawSplit(labels, names, open_image)


def _file(value: Any, root: Path, name: str) -> bytes:
    """Return an image's file, which stands in the table or lies in the folder."""
    entry: dict[str, Any] = value if isinstance(value, dict) else {"bytes": value}
    content: bytes | None = entry.get("bytes")
    if content is not None:
        return content
    path: Any = entry.get("path")
    where = f"{name} in dataset folder {root}"
    if not path or not isinstance(path, str):
        raise UserError(f"{where} has no image")
    if leaves_folder(path):
        raise UserError(
            f"{where} is not in the table but in {path!r}, outside of the folder; "
            "save the dataset with its images embedded"
        )
    wrong = not_a_file(root / path)
    if wrong == "does not exist":
        raise UserError(f"{where}: there is no image {path!r} in the folder")
    if wrong:
        raise UserError(f"{where}: {path!r} {wrong}")
    try:
        return (root / path).read_bytes()
    except OSError as error:
        raise UserError(f"{where}: {path!r} cannot be read: {error.strerror}") from error
