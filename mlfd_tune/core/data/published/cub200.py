"""CUB-200-2011: bird species, with one list file each for images, labels, classes and the split."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from pydantic import Field

from mlfd_tune.core.data.image_files import official_folder
from mlfd_tune.core.data.published.listed import ListedImages
from mlfd_tune.core.data.published.listing import ListedImage, Listing, Row, whole_number
from mlfd_tune.core.data.source import Official
from mlfd_tune.core.errors import allowed_values
from mlfd_tune.core.spec import Spec

if TYPE_CHECKING:
    from mlfd_tune.core.data.spec import DatasetSpec

__all__ = ["Cub200"]

IMAGES, LABELS, CLASSES = "images.txt", "image_class_labels.txt", "classes.txt"
SPLIT = "train_test_split.txt"

OFFICIAL = Official(
    classes=200,
    images={"train": 5994, "test": 5794},
    home="https://www.vision.caltech.edu/datasets/cub_200_2011/",
    layout="""\
CUB_200_2011/
  classes.txt
  images.txt
  image_class_labels.txt
  train_test_split.txt
  images/
    001.Black_footed_Albatross/
      Black_Footed_Albatross_0001_796111.jpg
      ...
    ...
    200.Common_Yellowthroat/
""",
    folder="CUB_200_2011",
)


class Cub200(ListedImages):
    """Birds of 200 species, named as in classes.txt: ``001.Black_footed_Albatross``."""

    class Options(Spec):
        """Which images to test on."""

        split: Literal["paper", "official"] = Field(
            default="paper",
            description="paper: all images are divided, test_fraction (20 %) of each class for "
            "testing, as the MLFD paper does; official: train_test_split.txt.",
        )

    name = "cub200"
    description = "CUB-200-2011: birds of 200 species, split as in the MLFD paper or as published"
    flip = True
    version = 1
    official = OFFICIAL

    def listing(self, spec: DatasetSpec) -> Listing:
        """Return what the list files say; train_test_split.txt is read for its split only."""
        published = self.options(spec).split == "official"
        root = official_folder(spec, OFFICIAL.folder, ("images", IMAGES, LABELS, CLASSES))
        listing = Listing(root, OFFICIAL)
        has_images = listing.require_folder("images")
        paths = _by_number(listing, IMAGES, "image id", "path")
        safe = {n for n, row in paths.items() if listing.stays_inside(row, row.words[1])}
        labels = _by_number(listing, LABELS, "image id", "class id")
        names = _by_number(listing, CLASSES, "class id", "class name")
        trained = _by_number(listing, SPLIT, "image id", "is training image") if published else {}
        if not (has_images and paths and labels and names) or (published and not trained):
            return listing
        _check_names(listing, names)
        _check_unknown(listing, paths, labels, trained)
        label_of = _label_by_image(listing, paths, labels, names)
        is_trained = _trained_by_image(listing, paths, trained) if published else {}
        listing.classes = tuple(names[number].words[1] for number in sorted(names))
        listing.splits = {"train": [], "test": []} if published else {"train": []}
        for number, row in paths.items():
            if number in safe and number in label_of:
                split = "train" if is_trained.get(number, True) else "test"
                image = ListedImage(f"images/{row.words[1]}", label_of[number], row.where)
                listing.splits[split].append(image)
        return listing


def _by_number(listing: Listing, relative: str, key: str, value: str) -> dict[int, Row]:
    """Return the rows of a two-column list file by the number they begin with."""
    found: dict[int, Row] = {}
    wrong = []
    for row in listing.rows(relative, (key, value)):
        number = whole_number(row.words[0])
        if number is None:
            wrong.append(f"{listing.at(row.where)}: {key} {row.words[0]!r} is no whole number")
        elif number in found:
            wrong.append(
                f"{listing.at(row.where)}: {key} {number} stands in {found[number].where} too; "
                "remove one of the two"
            )
        else:
            found[number] = row
    listing.add(relative, wrong)
    return found


def _check_names(listing: Listing, names: dict[int, Row]) -> None:
    first: dict[str, Row] = {}
    for row in names.values():
        other = first.setdefault(row.words[1], row)
        if other is not row:
            listing.problems.append(
                f"{listing.at(row.where)}: class {row.words[1]!r} stands in {other.where} too; "
                "remove one of the two"
            )


def _check_unknown(listing: Listing, paths: dict[int, Row], *others: dict[int, Row]) -> None:
    for rows in others:
        listing.add(
            IMAGES,
            [
                f"{listing.at(row.where)}: image {number} is not in {IMAGES}; "
                "take both files from one copy"
                for number, row in rows.items()
                if number not in paths
            ],
        )


def _label_by_image(
    listing: Listing, paths: dict[int, Row], labels: dict[int, Row], names: dict[int, Row]
) -> dict[int, int]:
    index = {number: label for label, number in enumerate(sorted(names))}
    found = {}
    wrong = []
    for number, path in paths.items():
        if number not in labels:
            wrong.append(
                f"{listing.at(path.where)}: image {number} has no class in {LABELS}; "
                "take both files from one copy"
            )
            continue
        row = labels[number]
        label = whole_number(row.words[1])
        if label is None or label not in index:
            allowed = allowed_values(row.words[1], [str(known) for known in sorted(names)])
            wrong.append(
                f"{listing.at(row.where)}: class {row.words[1]!r} is not in {CLASSES} {allowed}"
            )
            continue
        folder, name = path.words[1].split("/")[0], names[label].words[1]
        if folder not in {name, "..", ""}:  # what leads outside is told elsewhere
            wrong.append(
                f"{listing.at(row.where)}: image {number} lies in {folder!r}, but class {label} is "
                f"{name!r}; take {IMAGES}, {LABELS} and {CLASSES} from one copy"
            )
        found[number] = index[label]
    listing.add(LABELS, wrong)
    return found


def _trained_by_image(
    listing: Listing, paths: dict[int, Row], trained: dict[int, Row]
) -> dict[int, bool]:
    found = {}
    wrong = []
    for number, path in paths.items():
        row = trained.get(number)
        if row is None:
            wrong.append(
                f"{listing.at(path.where)}: image {number} is not in {SPLIT}; "
                "take both files from one copy"
            )
        elif row.words[1] not in {"0", "1"}:
            wrong.append(
                f"{listing.at(row.where)}: {row.words[1]!r} should be 1 (training) or 0 (testing)"
            )
        else:
            found[number] = row.words[1] == "1"
    listing.add(SPLIT, wrong)
    return found
