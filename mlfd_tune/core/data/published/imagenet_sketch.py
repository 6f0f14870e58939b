"""ImageNet-Sketch (Wang et al., 2019): drawings of ImageNet's 1,000 classes, in five folds.

It ships no splits. As in the experiments of the distillation paper, the images are divided into
five stratified folds, of which four are for training and one for testing.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from pydantic import Field

from mlfd_tune.core.data.published.wnid_folders import Labelled, WnidFolders, WnidScan, is_wnid
from mlfd_tune.core.data.raw import RawSplit
from mlfd_tune.core.data.source import Official
from mlfd_tune.core.data.splits import stratified_folds
from mlfd_tune.core.spec import Spec

if TYPE_CHECKING:
    from mlfd_tune.core.data.spec import DatasetSpec

__all__ = ["ImageNetSketch", "ImageNetSketchOptions"]

FOLDS = 5


class ImageNetSketchOptions(Spec):
    """The options of ImageNet-Sketch."""

    fold: int = Field(
        default=0, ge=0, lt=FOLDS, description="Which of the five folds is the test split."
    )


class ImageNetSketch(WnidFolders):
    """The classes are the folders of ``sketch``, sorted; `split_seed` decides the folds."""

    name = "imagenet_sketch"
    description = "ImageNet-Sketch: drawings of 1,000 classes; one fold of five is the test split"
    Options = ImageNetSketchOptions
    marks = ()
    official = Official(
        classes=1_000,
        images={"train": 50_889},  # published as one; the folds are made of it
        home="https://github.com/HaohanWang/ImageNet-Sketch",
        layout="sketch/<wnid>/sketch_<number>.JPEG",
        folder="sketch",
    )

    def scan(self, root: Path) -> WnidScan:
        """Return what lies in the dataset's folder."""
        scan = WnidScan(root)
        files, folders = scan.entries(".")
        scan.classes = tuple(filter(is_wnid, folders))
        if not scan.classes:
            found = ", ".join((folders + files)[:12]) or "nothing"
            scan.problem(
                "",
                f"has no folder of a class, such as sketch/n01440764 (found: {found}); "
                "unpack ImageNet-Sketch.zip in it",
            )
            return scan
        for name in files:
            scan.warn(name, "is in no class: ignored")
        strangers = [name for name in folders if not is_wnid(name)]
        scan.problem("", *(f"has folder {name!r}, which is no wnid" for name in strangers))
        scan.require_classes("")
        scan.images["train"] = _images(scan)
        return scan

    def splits(self, scan: WnidScan, spec: DatasetSpec) -> dict[str, RawSplit]:
        """Return four of the folds as ``train``, and the one that the option names as ``test``."""
        everything = super().splits(scan, spec).get("train")
        if everything is None:
            return {}
        folds = stratified_folds(everything.labels, everything.names, FOLDS, spec.split_seed)
        tested = folds == self.options(spec).fold
        return {
            "train": everything.subset(np.flatnonzero(~tested)),
            "test": everything.subset(np.flatnonzero(tested)),
        }


def _images(scan: WnidScan) -> Labelled:
    found: Labelled = []
    for label, name in enumerate(scan.classes):
        images = scan.images_in(name)
        if len(images) == 1:
            scan.problem(name, "has one image only; a class needs one to train and one to test")
        found += [(path, label) for path in images]
    return found
