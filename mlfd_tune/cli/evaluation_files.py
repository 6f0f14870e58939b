"""The files of an evaluation: one JSON with everything, tables as CSV, and pictures."""

from __future__ import annotations

import csv
import io
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from mlfd_tune.config import Loaded
from mlfd_tune.core.confusion import most_confused, per_class_accuracy
from mlfd_tune.core.evaluation import JOINT_TEACHER, STUDENT, TEACHER, Measured
from mlfd_tune.core.neighbours import NEIGHBOURS, TEMPERATURE
from mlfd_tune.core.printable import csv_cell
from mlfd_tune.core.stages import DatasetStage
from mlfd_tune.core.stages.pooled_features import chosen_images
from mlfd_tune.core.store.artifact import library_versions, write_atomically
from mlfd_tune.report.calibration import reliability_figure
from mlfd_tune.report.confusion import confusion_figure
from mlfd_tune.report.embeddings import EmbeddingPanel, embedding_figure, tsne_points
from mlfd_tune.report.figures import save_figure

__all__ = ["as_json", "write_files"]

_PANELS = {
    TEACHER: "own teacher",
    JOINT_TEACHER: "joint teacher",
    "none": "baseline",
    STUDENT: "student",
}
_MOST_POINTS = 1000


def as_json(
    found: Sequence[Measured],
    loaded: Loaded,
    data: DatasetStage,
    transfer: Mapping[str, DatasetStage],
    device: str,
) -> dict[str, Any]:
    """Return all that was found, fit for JSON.

    Args:
        found: What was measured of each network.
        loaded: The configuration.
        data: The dataset.
        transfer: The datasets that no network has seen.
        device: Where the speed was measured.
    """
    counts, classes = data.listing
    return {
        "config": str(loaded.path),
        "experiment": loaded.name,
        "dataset": data.dataset,
        "images": counts,
        "classes": list(classes),
        "transfer": {name: {"images": stage.counts} for name, stage in transfer.items()},
        "note": "one seed of each network: no interval",
        "knn": {"neighbours": NEIGHBOURS, "temperature": TEMPERATURE},
        "device": device,
        "versions": library_versions(),
        "networks": {one.network.name: _network(one, classes) for one in found},
    }


def write_files(
    folder: Path,
    found: Sequence[Measured],
    content: Mapping[str, Any],
    classes: Sequence[str],
    seed: int,
) -> list[Path]:
    """Write everything to a folder and return the files.

    Args:
        folder: A folder that exists. Files of the same names are replaced, others stay.
        found: What was measured of each network.
        content: What goes into ``evaluation.json``.
        classes: The K class names.
        seed: Of t-SNE.
    """
    files = [folder / "evaluation.json", folder / "per_class.csv"]
    write_atomically(files[0], (json.dumps(content, indent=1) + "\n").encode())
    write_atomically(files[1], _csv(_per_class(found, classes)))
    for one in found:
        name, title = one.network.name, one.network.label
        table = folder / f"confusion_{name}.csv"
        write_atomically(table, _csv(_confusion(one, classes)))
        files.append(table)
        files += save_figure(
            confusion_figure(one.matrix, classes, title), folder / f"confusion_{name}"
        )
        files += save_figure(reliability_figure(one.bins, title), folder / f"reliability_{name}")
    panels = _panels(found, classes, seed)
    if panels:
        files += save_figure(embedding_figure(panels), folder / "embeddings")
    return files


def _network(one: Measured, classes: Sequence[str]) -> dict[str, Any]:
    accuracy = per_class_accuracy(one.matrix).tolist()
    return {
        "label": one.network.label,
        "key": one.network.stage.key,
        "seed": one.network.seed,
        "metrics": dict(one.metrics),
        "parameters": one.parameters,
        "images_per_second": {str(size): speed for size, speed in one.images_per_second.items()},
        "per_class_acc1": {
            name: None if math.isnan(value) else value
            for name, value in zip(classes, accuracy, strict=True)
        },
        "confusion": one.matrix.tolist(),
        "most_confused": [
            {**asdict(pair), "true": classes[pair.true], "predicted": classes[pair.predicted]}
            for pair in most_confused(one.matrix)
        ],
        "calibration": {name: values.tolist() for name, values in vars(one.bins).items()},
    }


def _per_class(found: Sequence[Measured], classes: Sequence[str]) -> list[list[object]]:
    accuracies = [per_class_accuracy(one.matrix).tolist() for one in found]
    images = found[0].matrix.sum(axis=1).tolist()
    rows: list[list[object]] = [["class", "images", *(one.network.name for one in found)]]
    for index, name in enumerate(classes):
        values = [accuracy[index] for accuracy in accuracies]
        cells = ["" if math.isnan(value) else f"{value:.4f}" for value in values]
        rows.append([name, images[index], *cells])
    return rows


def _confusion(one: Measured, classes: Sequence[str]) -> list[list[object]]:
    rows: list[list[object]] = [["true \\ predicted", *classes]]
    rows += [[name, *row] for name, row in zip(classes, one.matrix.tolist(), strict=True)]
    return rows


def _csv(rows: Sequence[Sequence[object]]) -> bytes:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerows([csv_cell(cell) for cell in row] for row in rows)
    return text.getvalue().encode()


def _panels(
    found: Sequence[Measured], classes: Sequence[str], seed: int
) -> dict[str, EmbeddingPanel]:
    """Return the embeddings of the same test images by each of the networks that tell the story."""
    by_name = {one.network.name: one for one in found}
    panels = {}
    for one in (by_name[name] for name in _PANELS if name in by_name):
        chosen = chosen_images(one.labels, _MOST_POINTS, "test")
        vectors, metrics = one.embeddings[chosen], one.metrics
        if len(vectors) < 4 or vectors.shape[1] < 2:
            return {}  # too little for a map of neighbourhoods
        panels[_PANELS[one.network.name]] = EmbeddingPanel(
            points=tsne_points(vectors, seed),
            labels=one.labels[chosen],
            classes=tuple(classes),
            note=f"k-NN {metrics['test/knn_acc1']:.1f} %, acc1 {metrics['test/acc1']:.1f} %",
        )
    return panels
