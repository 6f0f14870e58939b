"""Embeddings of frozen networks, classified by neighbours and by a linear probe."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.neighbors import KNeighborsClassifier
from sklearn.preprocessing import StandardScaler

from mlfd_tune.core.data import DatasetSpec
from mlfd_tune.core.neighbours import TEMPERATURE
from mlfd_tune.core.stages import DatasetStage, teacher_reader
from mlfd_tune.core.stages.representation import PROBE_C, SPLITS, RepresentationStage
from mlfd_tune.core.store import Artifact
from tests.helpers.pipelines import pipeline


def stage_of(method: str = "none", data: DatasetStage | None = None) -> RepresentationStage:
    student = pipeline().student("one", method)
    return RepresentationStage(student.reader(), data or student.data)


def arrays(artifact: Artifact) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    return {
        split: (
            np.load(artifact.path / f"{split}_embeddings.npy").astype(np.float64),
            np.load(artifact.path / f"{split}_labels.npy"),
        )
        for split in SPLITS
    }


@pytest.fixture
def artifact(store) -> Artifact:
    return store.get_or_compute(stage_of())


def test_every_image_has_an_embedding_and_its_label(artifact):
    counts = pipeline().dataset("one").counts
    for split, (vectors, labels) in arrays(artifact).items():
        assert len(vectors) == len(labels) == counts[split]
        assert np.load(artifact.path / f"{split}_embeddings.npy").dtype == np.float16


@pytest.mark.parametrize("split", ["val", "test"])
def test_neighbours_vote_as_in_scikit_learn(artifact, split):
    found = arrays(artifact)
    reference = KNeighborsClassifier(
        20, metric="cosine", weights=lambda far: np.exp((1 - far) / TEMPERATURE)
    ).fit(*found["train"])
    accuracy = 100 * reference.score(*found[split])
    # Two images may be so alike that rounding decides between them.
    assert artifact.manifest.metrics[f"{split}/knn_acc1"] == pytest.approx(accuracy, abs=0.6)


def test_the_probe_has_the_c_that_does_best_on_validation(artifact):
    found, metrics = arrays(artifact), artifact.manifest.metrics
    scaler = StandardScaler().fit(found["train"][0])
    data = {split: (scaler.transform(x), y) for split, (x, y) in found.items()}
    assert metrics["probe_c"] in PROBE_C
    accuracy = {}
    for c in PROBE_C:
        probe = LogisticRegression(C=c, max_iter=5000, tol=1e-8).fit(*data["train"])
        accuracy[c] = 100 * probe.score(*data["val"])
        if c == metrics["probe_c"]:
            test = 100 * probe.score(*data["test"])
            assert metrics["test/probe_acc1"] == pytest.approx(test, abs=0.6)
            assert metrics["val/probe_acc1"] == pytest.approx(accuracy[c], abs=0.6)
    assert metrics["val/probe_acc1"] == pytest.approx(max(accuracy.values()), abs=0.6)


def test_a_network_is_measured_on_classes_it_has_never_seen(store):
    new = DatasetStage("new", DatasetSpec(source="digits", classes=("3", "1", "7")), 32)
    stage = stage_of("joint_teacher", new)
    artifact = store.get_or_compute(stage)
    labels = arrays(artifact)["test"][1]
    assert len(labels) == new.counts["test"]
    assert set(labels) == {0, 1, 2}
    assert artifact.manifest.dataset == "new"
    assert artifact.manifest.metrics["test/probe_acc1"] > 100 / 3


@pytest.mark.parametrize("method", ["none", "joint_teacher"])
def test_the_size_is_known_beforehand(store, method):
    stage = stage_of(method)
    used = store.get_or_compute(stage).manifest.bytes
    assert used <= stage.estimate_bytes() <= used + 1024


def test_the_measurement_depends_on_network_and_dataset_alone():
    plan = pipeline()
    again = RepresentationStage(plan.student("one", "none").reader(), plan.dataset("one"))
    assert stage_of().key == again.key
    others = {
        RepresentationStage(teacher_reader(plan.teacher("one")), plan.dataset("one")).key,
        stage_of("joint_teacher").key,
        stage_of(data=plan.dataset("two")).key,
    }
    assert len(others | {again.key}) == 4
