"""What datasets share whose own files say which images belong to which class and split."""

from __future__ import annotations

from abc import abstractmethod
from typing import TYPE_CHECKING, ClassVar

from mlfd_tune.core.data.image_files import file_split, files_hash, unfit
from mlfd_tune.core.data.published.listing import Listing
from mlfd_tune.core.data.published.notes import official_notes
from mlfd_tune.core.data.raw import RawDataset
from mlfd_tune.core.data.source import Fingerprint, InspectedSource, Inspection
from mlfd_tune.core.errors import UserError
from mlfd_tune.core.paths import not_a_file

if TYPE_CHECKING:
    from mlfd_tune.core.data.spec import DatasetSpec

__all__ = ["ListedImages"]


class ListedImages(InspectedSource):
    """A published dataset whose files say which image belongs where.

    Whatever is not listed is ignored. Whether images are sound shows on opening them.

    Attributes:
        name: The name in the registry.
        version: Raised whenever equal files give other images, labels or splits than before.
    """

    name: ClassVar[str]
    version: ClassVar[int]
    path = "required"

    @abstractmethod
    def listing(self, spec: DatasetSpec) -> Listing:
        """Return what the dataset's files say.

        Raises:
            UserError: The folder does not exist.
        """

    def fingerprint(self, spec: DatasetSpec) -> Fingerprint:
        """Return the hash of the images and of the files that list them, wherever they lie.

        Raises:
            UserError: When the dataset is missing or malformed, with all problems at once.
        """
        listing = self.listing(spec)
        _check(listing)
        if listing.problems:
            raise UserError(*listing.problems)
        images = [image.path for split in listing.splits.values() for image in split]
        content = files_hash(listing.root, [*listing.read, *images])
        return {"source": self.name, "version": self.version, "sha256": content}

    def inspect(self, spec: DatasetSpec) -> Inspection:
        """Return all problems of the files at once, with what can be used in spite of them."""
        try:
            listing = self.listing(spec)
        except UserError as error:
            return Inspection(None, error.problems)
        _check(listing)
        if not listing.splits.get("train"):
            return Inspection(None, tuple(listing.problems), tuple(listing.warnings))
        raw = RawDataset(
            listing.classes,
            {
                name: file_split(
                    listing.root,
                    [image.path for image in images],
                    [image.label for image in images],
                )
                for name, images in listing.splits.items()
            },
        )
        notes = official_notes(listing.official, raw)
        return Inspection(raw, tuple(listing.problems), (*listing.warnings, *notes))


def _check(listing: Listing) -> None:
    """Note what is wrong with the images listed, and leave out those that are not there."""
    if not listing.splits:
        return
    _check_classes(listing)
    seen: dict[str, str] = {}
    twice, absent = [], []
    for name, images in listing.splits.items():
        there = []
        for image in images:
            if image.path in seen:
                twice.append(
                    f"{listing.at(image.where)}: {image.path} stands in {seen[image.path]} too; "
                    "an image belongs to one split, once: remove one of the two"
                )
            elif wrong := unfit(image.path) or not_a_file(listing.root / image.path):
                told = {"does not exist": "is missing", "is a folder": "is a folder, no image"}
                what = told.get(wrong, wrong)
                absent.append(
                    f"{listing.at(image.path)} {what}, but {image.where} lists it; "
                    "unpack the archive again"
                )
            else:
                there.append(image)
            seen.setdefault(image.path, image.where)
        if not images:
            listing.problems.append(
                f"the {name} split in dataset folder {listing.root} has no images; "
                f"take the files that list them from {listing.official.home}"
            )
        listing.splits[name] = there
    lists = ", ".join(listing.read)
    listing.add(lists, twice)
    listing.add(lists, absent)


def _check_classes(listing: Listing) -> None:
    classes = listing.classes
    if len(classes) == 1:
        listing.problems.append(
            f"dataset folder {listing.root} has one class only ({classes[0]!r}); "
            "at least two are needed"
        )
    trained = {image.label for image in listing.splits.get("train", ())}
    listing.add(
        ", ".join(listing.read) or "the images",
        [
            f"class {name!r} in dataset folder {listing.root} has no training image; "
            "add images of it or remove it from the files that list it"
            for label, name in enumerate(classes)
            if label not in trained
        ],
    )
