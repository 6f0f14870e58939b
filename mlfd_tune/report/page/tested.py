"""What the store and MLflow kept of test splits that were read: answers and embeddings.

Nothing is read here that was not read before: only networks that were confirmed, or compared on
the test split, have such a reading.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from mlfd_tune.core.confusion import confusion_matrix
from mlfd_tune.core.data import PackedDataset
from mlfd_tune.core.errors import UserError
from mlfd_tune.core.stages.pooled_features import chosen_images
from mlfd_tune.core.store import Artifact
from mlfd_tune.report.embeddings import EmbeddingPanel, tsne_points
from mlfd_tune.report.page.material import Material
from mlfd_tune.tracking import vocabulary
from mlfd_tune.tracking.leaderboard import Row

__all__ = ["Tested", "confusions", "logged_embeddings", "panels_of", "tested_rows"]

_EVALUATION: Final = "evaluation/evaluation.json"
_EMBEDDINGS: Final = "evaluation/embeddings.svg"
_MOST_POINTS = 1000


@dataclass(frozen=True, eq=False)
class Tested:
    """A network's answers on the test split.

    Attributes:
        label: Which network.
        matrix: (K, K) images ``[true, predicted]``, summed over `seeds` seeds.
        classes: Names of the K classes.
        seeds: Number of seeds.
    """

    label: str
    matrix: NDArray[np.int64]
    classes: tuple[str, ...]
    seeds: int


def tested_rows(material: Material) -> dict[str, list[tuple[str, Row]]]:
    """Return, by dataset, the networks to look at closely: which they are, and their rows.

    Of a sweep the best confirmed configuration and its baseline; of an ablation on test accuracy
    the arm that is best on validation and the reference.
    """
    found: dict[str, list[tuple[str, Row]]] = {}
    for one in material.confirmed:
        found[one.row.dataset] = [("student", one.row)]
        baseline = next(
            (
                row
                for row in material.rows
                if row.method == vocabulary.NO_METHOD
                and row.dataset == one.row.dataset
                and row.status == one.row.status
                and one.row.config in row.baseline_of
            ),
            None,
        )
        if baseline is not None:
            found[one.row.dataset].append(("baseline", baseline))
    for dataset in material.datasets:
        arms = [
            row
            for row in material.rows
            if row.status == "ablation" and row.dataset == dataset and row.test and row.val
        ]
        if arms:
            best = max(arms, key=lambda row: row.val.mean if row.val else 0.0)
            found[dataset] = [(f"best arm on validation, {best.arm}", best)]
    return found


def confusions(material: Material, rows: Iterable[tuple[str, Row]]) -> list[Tested]:
    """Return what is kept of these networks' answers: of all seeds, or what was evaluated."""
    found = []
    for label, row in rows:
        tested = _from_store(material, label, row) or _logged(material, label, row)
        if tested is not None:
            found.append(tested)
    return found


def panels_of(material: Material, rows: Sequence[tuple[str, Row]]) -> dict[str, EmbeddingPanel]:
    """Return t-SNE of the embeddings that the store has, of one seed of each network."""
    panels = {}
    for label, row in rows:
        artifact = next(
            (
                material.readings["representation", key]
                for key in _keys(material, row)
                if ("representation", key) in material.readings
            ),
            None,
        )
        classes = _classes(material, artifact) if artifact else None
        if artifact is None or not classes:
            continue
        labels = np.load(artifact.path / "test_labels.npy")
        vectors = np.load(artifact.path / "test_embeddings.npy")
        chosen = chosen_images(labels, _MOST_POINTS, "test")
        if len(chosen) < 4 or vectors.shape[1] < 2:
            continue
        panels[label] = EmbeddingPanel(
            points=tsne_points(vectors[chosen], 0),
            labels=labels[chosen],
            classes=classes,
            note=f"k-NN {artifact.manifest.metrics['test/knn_acc1']:.1f} %",
        )
    return panels


def logged_embeddings(material: Material, rows: Iterable[tuple[str, Row]]) -> str | None:
    """Return the picture of embeddings that an evaluation of one of these networks has logged."""
    for _, row in rows:
        for run_id in row.run_ids:
            content = material.artifact(run_id, _EMBEDDINGS)
            if content is not None:
                return content.decode(errors="replace")
    return None


def _from_store(material: Material, label: str, row: Row) -> Tested | None:
    matrices = []
    classes: tuple[str, ...] | None = None
    for key in _keys(material, row):
        artifact = material.readings.get(("evaluation", key))
        if artifact is None or "logits.npy" not in artifact.manifest.files:
            return None
        classes = classes or _classes(material, artifact)
        if classes is None:
            return None
        answers = np.load(artifact.path / "logits.npy").argmax(axis=1)
        truth = np.load(artifact.path / "labels.npy")
        matrices.append(confusion_matrix(answers, truth, len(classes)))
    if not matrices or classes is None:
        return None
    return Tested(label, np.sum(matrices, axis=0), classes, len(matrices))


def _logged(material: Material, label: str, row: Row) -> Tested | None:
    for run_id in row.run_ids:
        content = material.artifact(run_id, _EVALUATION)
        if content is None:
            continue
        told: dict[str, Any] = json.loads(content)
        network = told["networks"]["student"]
        matrix = np.asarray(network["confusion"], dtype=np.int64)
        return Tested(label, matrix, tuple(told["classes"]), 1)
    return None


def _keys(material: Material, row: Row) -> list[str]:
    """Return the keys of a row's networks, in the order of its seeds."""
    keys = {one.run_id: one.tags.get(vocabulary.ARTIFACT_KEY, "") for one in material.trainings}
    return [keys[run_id] for run_id in row.run_ids if run_id in keys]


def _classes(material: Material, artifact: Artifact) -> tuple[str, ...] | None:
    """Return the class names of the images that an artifact was read from."""
    assert material.store is not None
    for key in artifact.manifest.inputs.values():
        folder = material.store.root / "artifacts" / "dataset" / key
        if folder.is_dir():
            try:
                return PackedDataset(folder).classes
            except UserError:
                return None
    return None
