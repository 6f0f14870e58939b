"""Caltech-101: ``101_ObjectCategories/<class>/image_0001.jpg``, without a split of its own."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from pydantic import Field

from mlfd_tune.core.data.image_files import names_in, official_folder
from mlfd_tune.core.data.published.listed import ListedImages
from mlfd_tune.core.data.published.listing import ListedImage, Listing
from mlfd_tune.core.data.source import Official
from mlfd_tune.core.spec import Spec

if TYPE_CHECKING:
    from mlfd_tune.core.data.spec import DatasetSpec

__all__ = ["Caltech101"]

IMAGES = "101_ObjectCategories"
BACKGROUND = "BACKGROUND_Google"
FOLDERS = ("caltech-101", "caltech101")  # the archive's own name, and torchvision's

OFFICIAL = Official(
    classes=102,
    images={"train": 9144},
    home="https://data.caltech.edu/records/mzrjq-6wc02",
    layout="""\
caltech-101/
  101_ObjectCategories/
    BACKGROUND_Google/
      image_0001.jpg
      ...
    Faces/
    ...
    yin_yang/
""",
    folder=FOLDERS[0],
)
WITHOUT_BACKGROUND = replace(OFFICIAL, classes=101, images={"train": 8677})


class Caltech101(ListedImages):
    """Objects of 101 kinds, and images of none of them.

    All images are training images: the platform carves `test_fraction` of each class for testing,
    20 % as in the MLFD paper. The paper seeds its split with 42. ``split_seed: 42`` is only the
    same number: here the images' names decide by their hash, so the images differ.
    """

    class Options(Spec):
        """Whether images of no kind are a class."""

        background: bool = Field(
            default=True,
            description="Keep BACKGROUND_Google as a class; the MLFD paper counts 102 with it.",
        )

    name = "caltech101"
    description = "Caltech-101: objects of 101 kinds and a background class; 20 % kept for testing"
    flip = True
    version = 1
    official = OFFICIAL

    def listing(self, spec: DatasetSpec) -> Listing:
        """Return the classes, which are the folders in sorted order, and their images."""
        background: bool = self.options(spec).background
        listing = Listing(_root(spec), OFFICIAL if background else WITHOUT_BACKGROUND)
        if not listing.require_folder(IMAGES):
            return listing
        folder = listing.root / IMAGES
        entries = names_in(folder)
        classes = [name for name in entries if (folder / name).is_dir()]
        if background and BACKGROUND not in classes:
            listing.warnings.append(
                f"{listing.at(f'{IMAGES}/{BACKGROUND}')} is missing, which the paper counts as a "
                "class; set options.background to false if that is meant"
            )
        if not background:
            classes = [name for name in classes if name != BACKGROUND]
        stray = [name for name in entries if not (folder / name).is_dir()]
        images = []
        for label, name in enumerate(classes):
            paths, others = _images_of(listing, name)
            images += [ListedImage(path, label, IMAGES) for path in paths]
            stray += others
        if stray:
            shown = ", ".join(stray[:5]) + (", ..." if len(stray) > 5 else "")
            listing.warnings.append(
                f"{listing.at(IMAGES)} holds {len(stray)} of what is no class and no .jpg image, "
                f"ignored: {shown}"
            )
        if not classes:
            listing.problems.append(
                f"{listing.at(IMAGES)} has no class folder: {IMAGES}/<class>/image_0001.jpg"
            )
            return listing
        listing.classes = tuple(classes)
        listing.splits["train"] = images
        return listing


def _root(spec: DatasetSpec) -> Path:
    places = [official_folder(spec, folder, (IMAGES,)) for folder in FOLDERS]
    return next((place for place in places if (place / IMAGES).is_dir()), places[0])


def _images_of(listing: Listing, name: str) -> tuple[list[str], list[str]]:
    """Return the images of a class by path, and the files that are none by name."""
    folder = listing.root / IMAGES / name
    images, others, nested = [], [], []
    for entry in names_in(folder):
        relative = f"{IMAGES}/{name}/{entry}"
        if (folder / entry).is_dir():
            nested.append(
                f"{listing.at(relative)} is a folder; images lie directly in {IMAGES}/{name}: "
                "move them there"
            )
        elif entry.lower().endswith((".jpg", ".jpeg")):
            images.append(relative)
        else:
            others.append(f"{name}/{entry}")
    listing.add(f"{IMAGES}/{name}", nested)
    return images, others
