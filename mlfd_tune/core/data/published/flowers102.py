"""Flowers-102: ``jpg/image_00001.jpg``, with labels and splits in MATLAB files."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from mlfd_tune.core.data.image_files import official_folder
from mlfd_tune.core.data.published.listed import ListedImages
from mlfd_tune.core.data.published.listing import ListedImage, Listing
from mlfd_tune.core.data.published.matlab import read_variables
from mlfd_tune.core.data.source import Official
from mlfd_tune.core.spec import Spec

if TYPE_CHECKING:
    from mlfd_tune.core.data.spec import DatasetSpec

__all__ = ["Flowers102"]

CLASSES = 102
LABELS, IDS = "imagelabels.mat", "setid.mat"
PARTS = ("trnid", "valid", "tstid")
# The variables of setid.mat that make each split.
SPLITS: dict[str, dict[str, tuple[str, ...]]] = {
    "paper": {"train": ("trnid", "tstid"), "test": ("valid",)},
    "official": {"train": ("trnid",), "val": ("valid",), "test": ("tstid",)},
}

OFFICIAL = Official(
    classes=CLASSES,
    images={"train": 1020, "val": 1020, "test": 6149},
    home="https://www.robots.ox.ac.uk/~vgg/data/flowers/102/",
    layout="""\
flowers-102/
  imagelabels.mat
  setid.mat
  jpg/
    image_00001.jpg
    ...
    image_08189.jpg
""",
    folder="flowers-102",
)


class Flowers102(ListedImages):
    """British flowers of 102 kinds, which have numbers for names: ``001`` to ``102``."""

    class Options(Spec):
        """Which images to test on."""

        split: Literal["paper", "official"] = Field(
            default="paper",
            description="paper: the published train and test images for training, val for testing, "
            "as the MLFD paper does; official: train, val and test as published.",
        )

    name = "flowers102"
    description = "Flowers-102: flowers of 102 kinds, split as in the MLFD paper or as published"
    flip = True
    version = 1
    official = OFFICIAL

    def listing(self, spec: DatasetSpec) -> Listing:
        """Return what imagelabels.mat and setid.mat say about the images in jpg/."""
        split: str = self.options(spec).split
        root = official_folder(spec, OFFICIAL.folder, ("jpg", LABELS, IDS))
        listing = Listing(root, OFFICIAL)
        has_images = listing.require_folder("jpg")
        labels = _variables(listing, LABELS, ("labels",)).get("labels")
        ids = _variables(listing, IDS, PARTS)
        if not has_images or labels is None or len(ids) < len(PARTS):
            return listing
        _check_labels(listing, labels)
        _check_ids(listing, ids, len(labels))
        kinds = {
            name: [(key, number) for key in keys for number in ids[key]]
            for name, keys in SPLITS[split].items()
        }
        known = {number: label for number, label in enumerate(labels, 1) if 1 <= label <= CLASSES}
        present = sorted({known[n] for of in kinds.values() for _, n in of if n in known})
        index = {label: position for position, label in enumerate(present)}
        listing.classes = tuple(f"{label:03d}" for label in present)
        listing.splits = {
            name: [
                ListedImage(f"jpg/image_{number:05d}.jpg", index[known[number]], f"{IDS} {key}")
                for key, number in of
                if number in known
            ]
            for name, of in kinds.items()
        }
        return listing


def _variables(listing: Listing, relative: str, names: tuple[str, ...]) -> dict[str, list[int]]:
    """Return whole numbers out of a MATLAB file by variable, those that can be read."""
    if not listing.require_file(relative):
        return {}
    try:
        content = read_variables(listing.root / relative, names)
    except (OSError, ValueError) as error:
        listing.problems.append(
            f"{listing.at(relative)} is no sound MATLAB 5 file: {error}; "
            f"take it again from {listing.official.home}"
        )
        return {}
    listing.read.append(relative)
    found = {}
    for name in names:
        if name not in content:
            listing.problems.append(
                f"{listing.at(relative)} has no variable {name!r}; "
                f"take the file again from {listing.official.home}"
            )
            continue
        values = content[name].ravel()
        if values.dtype.kind not in "uif" or not _whole(values):
            listing.problems.append(
                f"{listing.at(relative)}: variable {name!r} holds what is no whole number; "
                f"take the file again from {listing.official.home}"
            )
            continue
        found[name] = [int(value) for value in values]
    return found


def _whole(values: NDArray[Any]) -> bool:
    return bool(np.all(np.isfinite(values) & (values == np.rint(values))))


def _check_labels(listing: Listing, labels: list[int]) -> None:
    listing.add(
        LABELS,
        [
            f"{listing.at(LABELS)}: image {number} has label {label} (allowed: 1 to {CLASSES})"
            for number, label in enumerate(labels, 1)
            if not 1 <= label <= CLASSES
        ],
    )


def _check_ids(listing: Listing, ids: dict[str, list[int]], labels: int) -> None:
    listing.add(
        IDS,
        [
            f"{listing.at(IDS)}: {key} has image {number}, but {LABELS} has {labels} labels "
            f"(allowed: 1 to {labels}); take both files from one copy"
            for key, numbers in ids.items()
            for number in numbers
            if not 1 <= number <= labels
        ],
    )
    unused = labels - len({number for numbers in ids.values() for number in numbers})
    if unused > 0:
        listing.warnings.append(
            f"{listing.at(IDS)} puts {unused} of the {labels} images with a label in no split: "
            "ignored"
        )
