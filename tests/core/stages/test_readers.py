"""Readers see with a finished network what its own training measured."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from mlfd_tune.core.metrics import AccuracyMeter
from mlfd_tune.core.stages import EvaluationStage, Reader, teacher_reader
from mlfd_tune.core.store import Store
from tests.helpers.pipelines import pipeline

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Store:
    return Store(tmp_path_factory.mktemp("store"))


def accuracy(store: Store, reader: Reader, data: object, split: str = "val") -> float:
    inputs = {name: store.get_or_compute(stage) for name, stage in reader.inputs(data).items()}
    meter = AccuracyMeter()
    for reading in reader.read(inputs, split, CPU):
        meter.update(reading.logits, reading.labels)
    return meter.compute()["acc1"]


def test_a_student_is_read_as_its_training_measured_it(store):
    stage = pipeline().student("one", "none")
    trained = store.get_or_compute(stage).manifest.metrics["val/acc1"]
    assert accuracy(store, stage.reader(), stage.data) == trained


def test_a_teacher_is_read_with_its_own_image_size(store):
    plan = pipeline(teachers={"two": {"image_size": 40}})
    teacher = plan.teacher("two")
    trained = store.get_or_compute(teacher).manifest.metrics["val/acc1"]
    assert accuracy(store, teacher_reader(teacher), plan.dataset("two")) == trained


@pytest.mark.parametrize("heads", ["shared", "per_dataset"])
def test_a_joint_teacher_is_read_with_teachers_of_different_sizes(store, heads):
    plan = pipeline(teachers={"two": {"image_size": 40}}, joint_teacher={"heads": heads})
    stage = plan.student("one", "joint_teacher")
    metrics = store.get_or_compute(stage).manifest.metrics
    joint = store.get_or_compute(stage.joint_teacher).manifest.metrics
    assert metrics["val/acc1"] == joint["val/acc1/one"]
    assert accuracy(store, stage.reader(), stage.data) == pytest.approx(metrics["val/acc1"])


def test_a_joint_teacher_of_another_seed_shares_teachers_and_features(store):
    plan = pipeline()
    first, second = (plan.student("one", "joint_teacher", seed) for seed in (0, 1))
    assert first.joint_teacher.key != second.joint_teacher.key
    assert first.joint_teacher.inputs.keys() == second.joint_teacher.inputs.keys()
    below = [
        {name: s.key for name, s in one.joint_teacher.inputs.items()} for one in (first, second)
    ]
    assert below[0] == below[1]
    mlfd = plan.student("one", "mlfd")
    assert first.joint_teacher.key == mlfd.inputs["targets"].joint_teacher.key


@pytest.mark.parametrize("method", ["none", "joint_teacher"])
def test_an_evaluation_keeps_what_its_numbers_are_made_of(store, method):
    stage = pipeline().student("one", method)
    artifact = store.get_or_compute(EvaluationStage(stage.reader(), stage.data))
    logits, labels = (np.load(artifact.path / f"{name}.npy") for name in ("logits", "labels"))
    assert len(labels) == stage.data.counts["test"]
    hits = 100 * np.mean(logits.argmax(axis=1) == labels)
    assert artifact.manifest.metrics["test/acc1"] == pytest.approx(hits)


def test_images_of_another_dataset_have_embeddings_but_no_logits(store):
    plan = pipeline(datasets={"two": {"classes": ["0", "1", "2"]}})
    stage = plan.student("one", "none")
    other = plan.dataset("two")
    inputs = {n: store.get_or_compute(s) for n, s in stage.reader().inputs(other).items()}
    readings = list(stage.reader().read(inputs, "val", CPU))
    assert all(reading.logits is None for reading in readings)
    assert sum(len(reading.embedding) for reading in readings) == other.counts["val"]
