"""CIFAR-10 and CIFAR-100 (Krizhevsky, 2009): 32x32 colour photographs, in either official form."""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, Literal

from pydantic import Field

from mlfd_tune.core.data.image_files import files_hash, folder_of, official_folder
from mlfd_tune.core.data.published.cifar_files import BinaryForm, Form, Labels, PythonForm
from mlfd_tune.core.data.published.cifar_splits import missing_files, read_form
from mlfd_tune.core.data.published.notes import official_notes
from mlfd_tune.core.data.raw import RawDataset
from mlfd_tune.core.data.source import DatasetSource, Fingerprint, Inspection, Official
from mlfd_tune.core.errors import UserError
from mlfd_tune.core.spec import Spec

if TYPE_CHECKING:
    from mlfd_tune.core.data.spec import DatasetSpec

__all__ = ["Cifar10", "Cifar100", "Cifar100Options"]

HOME = "https://www.cs.toronto.edu/~kriz/cifar.html"
VERSION = 1

_BATCHES = tuple(f"data_batch_{number}" for number in range(1, 6))


class _Cifar(DatasetSource):
    """What the two have in common.

    Attributes:
        name: The source's name.
        forms: The forms that its files may have; the first one found is read.
    """

    flip = True
    path = "required"
    name: ClassVar[str]
    official: ClassVar[Official]
    forms: ClassVar[tuple[Form, ...]]

    @abstractmethod
    def labels(self, spec: DatasetSpec) -> Labels:
        """Return how the images are labelled."""

    def fingerprint(self, spec: DatasetSpec) -> Fingerprint:
        """Return the hash of the form's files; others, such as a readme, do not count."""
        form, root = self._find(spec)
        missing = missing_files(form, root)
        if missing:
            raise UserError(*missing)
        content = files_hash(root, form.files)
        return {"source": self.name, "version": VERSION, "sha256": content}

    def load(self, spec: DatasetSpec) -> RawDataset:
        """Return the official train and test splits, their pixels held in memory."""
        form, root = self._find(spec)
        return read_form(form, root, self.labels(spec))

    def inspect(self, spec: DatasetSpec) -> Inspection:
        """Return the problems of all files at once, or how a sound copy differs from the whole."""
        try:
            raw = self.load(spec)
        except UserError as error:
            return Inspection(None, error.problems)
        whole = replace(self.official, classes=len(raw.classes))  # always all, fine or coarse
        return Inspection(raw, warnings=official_notes(whole, raw))

    def _find(self, spec: DatasetSpec) -> tuple[Form, Path]:
        """Return the form that lies in the dataset's folder, and where."""
        for form in self.forms:
            root = official_folder(spec, form.folder, form.files)
            if root.name == form.folder or any((root / file).is_file() for file in form.files):
                return form, root
        forms = " and no ".join(f"{form.folder} (of {form.archive})" for form in self.forms)
        raise UserError(f"{spec.shown} has no {forms}; unpack one of them in {folder_of(spec)}")


class Cifar10(_Cifar):
    """Ten classes of 5,000 training and 1,000 test images."""

    name = "cifar10"
    description = "CIFAR-10: 32x32 photographs of 10 classes, Python or binary version"
    official = Official(
        classes=10,
        images={"train": 50_000, "test": 10_000},
        home=HOME,
        layout="""\
cifar-10-batches-py/
  data_batch_1 ... data_batch_5
  test_batch
  batches.meta
or
cifar-10-batches-bin/
  data_batch_1.bin ... data_batch_5.bin
  test_batch.bin
  batches.meta.txt""",
        folder="cifar-10-batches-py",
    )
    forms = (
        PythonForm(
            folder="cifar-10-batches-py",
            archive="cifar-10-python.tar.gz",
            train=_BATCHES,
            test="test_batch",
            meta=("batches.meta",),
        ),
        BinaryForm(
            folder="cifar-10-batches-bin",
            archive="cifar-10-binary.tar.gz",
            train=tuple(f"{batch}.bin" for batch in _BATCHES),
            test="test_batch.bin",
            meta=("batches.meta.txt",),
            label_bytes=1,
        ),
    )

    def labels(self, spec: DatasetSpec) -> Labels:
        """Return the only labels there are."""
        return Labels(10, "labels", "label_names", column=0, names_file="batches.meta.txt")


class Cifar100Options(Spec):
    """The options of CIFAR-100."""

    labels: Literal["fine", "coarse"] = Field(
        default="fine", description="Learn the 100 fine classes or the 20 coarse ones."
    )


class Cifar100(_Cifar):
    """A hundred classes of 500 training and 100 test images, in 20 groups of five."""

    name = "cifar100"
    description = "CIFAR-100: 32x32 photographs of 100 fine or 20 coarse classes, either version"
    Options = Cifar100Options
    official = Official(
        classes=100,
        images={"train": 50_000, "test": 10_000},
        home=HOME,
        layout="""\
cifar-100-python/
  train
  test
  meta
or
cifar-100-binary/
  train.bin
  test.bin
  fine_label_names.txt
  coarse_label_names.txt""",
        folder="cifar-100-python",
    )
    forms = (
        PythonForm(
            folder="cifar-100-python",
            archive="cifar-100-python.tar.gz",
            train=("train",),
            test="test",
            meta=("meta",),
        ),
        BinaryForm(
            folder="cifar-100-binary",
            archive="cifar-100-binary.tar.gz",
            train=("train.bin",),
            test="test.bin",
            meta=("fine_label_names.txt", "coarse_label_names.txt"),
            label_bytes=2,
        ),
    )

    def labels(self, spec: DatasetSpec) -> Labels:
        """Return the labels that the option `labels` asks for."""
        return _OF_CIFAR100[self.options(spec).labels]


_OF_CIFAR100 = {
    "coarse": Labels(20, "coarse_labels", "coarse_label_names", 0, "coarse_label_names.txt"),
    "fine": Labels(100, "fine_labels", "fine_label_names", 1, "fine_label_names.txt"),
}
