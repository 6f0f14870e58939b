"""Oxford-IIIT Pets: ``images/Abyssinian_1.jpg``, listed in annotations/{trainval,test}.txt."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Literal

from pydantic import Field

from mlfd_tune.core.data.image_files import official_folder
from mlfd_tune.core.data.published.listed import ListedImages
from mlfd_tune.core.data.published.listing import ListedImage, Listing, Row, whole_number
from mlfd_tune.core.data.source import Official
from mlfd_tune.core.spec import Spec

if TYPE_CHECKING:
    from mlfd_tune.core.data.spec import DatasetSpec

__all__ = ["Pets"]

CLASSES = 37
LISTS = {"train": "annotations/trainval.txt", "test": "annotations/test.txt"}
COLUMNS = ("name", "class id", "species", "breed id")

OFFICIAL = Official(
    classes=CLASSES,
    images={"train": 3680, "test": 3669},
    home="https://www.robots.ox.ac.uk/~vgg/data/pets/",
    layout="""\
oxford-iiit-pet/
  annotations/
    list.txt      all images (not read)
    trainval.txt
    test.txt
  images/
    Abyssinian_1.jpg
    ...
    yorkshire_terrier_99.jpg
""",
    folder="oxford-iiit-pet",
)


class Pets(ListedImages):
    """Cats and dogs of 37 breeds, named as their files are: ``Abyssinian`` for Abyssinian_1.jpg.

    What lies in images/ and is not listed, as some MATLAB files do, is ignored.
    """

    class Options(Spec):
        """Which images to test on."""

        split: Literal["paper", "official"] = Field(
            default="paper",
            description="paper: all listed images are divided, test_fraction (20 %) of each class "
            "for testing, as the MLFD paper does; official: trainval.txt and test.txt.",
        )

    name = "pets"
    description = "Oxford-IIIT Pets: 37 breeds, split as in the MLFD paper or as published"
    flip = True
    version = 1
    official = OFFICIAL

    def listing(self, spec: DatasetSpec) -> Listing:
        """Return what trainval.txt and test.txt say, in the order of the class ids."""
        published = self.options(spec).split == "official"
        root = official_folder(spec, OFFICIAL.folder, ("images", "annotations"))
        listing = Listing(root, OFFICIAL)
        has_images = listing.require_folder("images")
        rows = {split: listing.rows(relative, COLUMNS) for split, relative in LISTS.items()}
        numbers = _class_ids(listing, [row for of in rows.values() for row in of])
        names = _class_names(listing, numbers)
        if not has_images or not names or not all(rows.values()):
            return listing
        index = {number: label for label, number in enumerate(sorted(names))}
        listing.classes = tuple(names[number] for number in sorted(names))
        images = {
            split: [
                ListedImage(f"images/{row.words[0]}.jpg", index[numbers[row]], row.where)
                for row in of
                if row in numbers
            ]
            for split, of in rows.items()
        }
        everything = {"train": [image for of in images.values() for image in of]}
        listing.splits = images if published else everything
        return listing


def _class_ids(listing: Listing, rows: list[Row]) -> dict[Row, int]:
    """Return the class ids of the rows that are sound."""
    found = {}
    wrong = []
    for row in rows:
        name, number = row.words[0], whole_number(row.words[1])
        if not listing.stays_inside(row, name):
            continue
        if not re.fullmatch(r"[^/\\]+_[0-9]+", name):
            wrong.append(f"{listing.at(row.where)}: name {name!r} should be <breed>_<number>")
        elif number is None or not 1 <= number <= CLASSES:
            wrong.append(
                f"{listing.at(row.where)}: class id {row.words[1]!r} of {name} is not possible "
                f"(allowed: 1 to {CLASSES})"
            )
        else:
            found[row] = number
    listing.add("annotations", wrong)
    return found


def _class_names(listing: Listing, numbers: dict[Row, int]) -> dict[int, str]:
    """Return the breed of each class id, as the first of its images is called."""
    names: dict[int, tuple[str, Row]] = {}
    ids: dict[str, tuple[int, Row]] = {}
    wrong = []
    for row, number in numbers.items():
        breed = row.words[0].rpartition("_")[0]
        name, first = names.setdefault(number, (breed, row))
        known, other = ids.setdefault(breed, (number, row))
        if name != breed:
            wrong.append(
                f"{listing.at(row.where)}: class id {number} is {name!r} in {first.where}, "
                f"but {row.words[0]} is of {breed!r}; correct the class id"
            )
        elif known != number:
            wrong.append(
                f"{listing.at(row.where)}: {breed!r} has class id {known} in {other.where}, "
                f"but {number} here; correct the class id"
            )
    listing.add("annotations", wrong)
    return {number: name for number, (name, _) in names.items()}
