"""Which networks are compared, and that all that is told of one fits together."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from mlfd_tune.core.confusion import per_class_accuracy
from mlfd_tune.core.evaluation import (
    JOINT_TEACHER,
    STUDENT,
    TEACHER,
    Evaluation,
    networks,
    usual_comparisons,
)
from mlfd_tune.core.store import Store
from tests.helpers.pipelines import pipeline, settings

CPU = torch.device("cpu")


@pytest.mark.parametrize(
    ("method", "expected"),
    [
        ("mlfd", ("none", TEACHER, JOINT_TEACHER)),
        ("kd", ("none", TEACHER)),
        ("own_teacher", ("none", TEACHER)),
        ("none", (TEACHER,)),
        ("joint_teacher", ("none", TEACHER)),
    ],
)
def test_a_student_is_compared_with_baseline_and_teachers(method, expected):
    assert usual_comparisons(settings(method=method)) == expected


def test_the_student_goes_first_and_nothing_stands_twice():
    found = networks(pipeline(method="kd"), "one", ["kd", "none", TEACHER, "none", "mlfd"])
    assert [one.name for one in found] == [STUDENT, "none", TEACHER, "mlfd"]


def test_the_joint_teacher_is_the_one_the_student_learns_from():
    plan = pipeline(seed=3, students={"one": {"seed": 8}})
    student, joint = networks(plan, "one", [JOINT_TEACHER])
    assert (student.seed, joint.seed) == (8, 3)
    assert joint.stage.joint_teacher.key == student.stage.inputs["targets"].joint_teacher.key


def test_what_is_told_of_a_network_fits_together(store):
    plan = pipeline(datasets={"two": {"classes": ["5", "6"]}})
    evaluation = Evaluation(
        networks(plan, "one", ["none", JOINT_TEACHER]),
        plan.student_data("one"),
        {"new": plan.dataset("two")},
    )
    for stage in evaluation.stages():
        store.get_or_compute(stage)
    found = {one.network.name: one for one in evaluation.measure(store, CPU)}
    assert list(found) == [STUDENT, "none", JOINT_TEACHER]
    for one in found.values():
        images = one.matrix.sum(axis=1)
        accuracy = np.average(per_class_accuracy(one.matrix), weights=images)
        assert one.metrics["test/acc1"] == pytest.approx(accuracy)
        assert one.bins.counts.sum() == len(one.labels) == len(one.embeddings) == images.sum()
        assert set(one.images_per_second) == {1, 64}
        assert {"test/ece", "transfer/new/knn_acc1", "transfer/new/probe_acc1"} <= set(one.metrics)
    # "Without any extra inference cost": the student is its baseline's network.
    assert found[STUDENT].parameters == found["none"].parameters < found[JOINT_TEACHER].parameters


def test_nothing_is_told_before_it_is_computed(tmp_path):
    plan = pipeline()
    evaluation = Evaluation(networks(plan, "one", []), plan.student_data("one"), {})
    with pytest.raises(LookupError, match="was not computed"):
        evaluation.measure(Store(tmp_path / "empty"), CPU)
