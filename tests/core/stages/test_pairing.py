"""What may be compared: arms that share their draws, datasets that do not touch each other."""

from __future__ import annotations

import pytest
import torch

from mlfd_tune.core.methods import METHODS
from mlfd_tune.core.pipeline import Pipeline
from mlfd_tune.core.settings import PipelineSettings, deep_merge
from mlfd_tune.core.store import Store
from tests.helpers.digit_tasks import assert_identical
from tests.helpers.pipelines import (
    BASE,
    CATALOGUE,
    draws_of_an_epoch,
    files,
    pipeline,
    tensors,
    trainer_of,
)


def student_weights(trainer) -> dict[str, torch.Tensor]:
    return {name: value.clone() for name, value in trainer.task.student.state_dict().items()}


DECAY = {"shape": "cosine", "end": 0.0}
SMALL_LADDER = {"unic": {"hidden": 16, "last_hidden": 32}}
ARMS = {
    "mlfd": ({}, "mlfd"),
    "other coefficients": ({"distillation": {"alpha": 2.0, "temperature": 5.0}}, "mlfd"),
    "another depth": ({"joint_teacher": {"levels": "L1"}}, "mlfd"),
    "another lineup": ({"teacher": {"arch": "test_convnext"}}, "mlfd"),
    "another loss": ({"distillation": {"feature_loss": "cka", "alpha_schedule": DECAY}}, "mlfd"),
    **{
        name: (SMALL_LADDER, name)
        for name, method in METHODS.items()
        if name not in ("mlfd", "none") and method.role != "reference"
    },
}
FIXED = {"student": {"arch": "test_resnet", "train": {"augment": "light", "drop_rate": 0.2}}}


@pytest.fixture
def baseline(store, monkeypatch):
    trainer = trainer_of(pipeline(**FIXED).student("one", "none"), store)
    return student_weights(trainer), draws_of_an_epoch(trainer, monkeypatch)


@pytest.mark.parametrize(("changes", "method"), ARMS.values(), ids=ARMS)
def test_every_arm_of_a_seed_starts_as_the_baseline_and_sees_the_same_images(
    store, monkeypatch, baseline, changes, method
):
    trainer = trainer_of(pipeline(**FIXED, **changes).student("one", method), store)
    weights, draws = baseline
    assert_identical(student_weights(trainer), weights)
    assert draws_of_an_epoch(trainer, monkeypatch) == draws
    assert len(draws) == 3


def test_another_seed_starts_elsewhere_and_sees_other_images(store, monkeypatch, baseline):
    trainer = trainer_of(pipeline(**FIXED).student("one", "none", seed=1), store)
    weights, draws = baseline
    same = [
        name
        for name, value in student_weights(trainer).items()
        if value.ndim > 1 and torch.equal(value, weights[name])
    ]
    assert same == []
    assert draws_of_an_epoch(trainer, monkeypatch) != draws


def test_the_students_seed_leaves_the_teachers_as_they_are():
    plain, reseeded = pipeline(), pipeline(student={"seed": 7})
    assert reseeded.student("one").targets.key == plain.student("one").targets.key
    assert reseeded.student("one").key != plain.student("one").key
    assert pipeline().student("one", seed=7).key == reseeded.student("one").key


def test_a_student_of_another_architecture_starts_as_its_own_baseline(store):
    changes = {"student": {"arch": "test_efficientnet"}, "teacher": {"arch": "test_resnet"}}
    student = trainer_of(pipeline(**changes).student("one", "mlfd"), store)
    baseline = trainer_of(pipeline(**changes).student("one", "none"), store)
    assert_identical(student_weights(student), student_weights(baseline))


@pytest.mark.parametrize(
    "change",
    [
        {"datasets": {"two": {"train_size": 80}}},
        {"datasets": {"two": {"source": "letters", "split_seed": 0, "train_size": 70}}},
        {"teachers": {"two": {"arch": "test_convnext"}}},
        {"datasets": {"three": {"source": "digits", "train_size": 40}}},
    ],
    ids=["its size", "its images", "its teacher", "one more"],
)
def test_a_change_in_one_dataset_moves_no_key_of_anothers_teacher_baseline_or_control(change):
    before, after = pipeline(), pipeline(**change)
    for stage in (
        lambda made: made.teacher("one"),
        lambda made: made.student("one", "none"),
        lambda made: made.student("one", "own_teacher"),
    ):
        assert stage(after).key == stage(before).key
    assert after.student("one", "mlfd").key != before.student("one", "mlfd").key


def test_a_change_in_one_dataset_moves_no_number_of_anothers_teacher(store, tmp_path):
    expected = store.get_or_compute(pipeline().teacher("one"))
    torch.manual_seed(5)
    other = Store(tmp_path)
    changed = pipeline(datasets={"two": {"train_size": 80}})
    other.get_or_compute(changed.teacher("two"))
    again = other.get_or_compute(changed.teacher("one"))
    assert files(again) == files(expected)
    assert again.manifest.history == expected.manifest.history


@pytest.mark.parametrize("heads", ["shared", "per_dataset"])
def test_the_order_in_which_datasets_are_named_does_not_matter(heads):
    turned = dict(reversed(BASE["datasets"].items()))
    one = pipeline(joint_teacher={"heads": heads})
    fusion = deep_merge(BASE["joint_teacher"], {"heads": heads})
    changes = {"datasets": turned, "joint_teacher": fusion}
    other = Pipeline(PipelineSettings(**{**BASE, **changes}), CATALOGUE)
    assert list(other.settings.datasets) == ["two", "one"]
    for name in turned:
        assert other.evaluation(name).key == one.evaluation(name).key
        assert other.student(name).label == one.student(name).label


def test_the_same_pipeline_in_another_store_gives_the_same_student_to_the_bit(store, tmp_path):
    made = pipeline(joint_teacher={"levels": "L1"})  # with an adaptor on the student's side
    one = store.get_or_compute(made.student("two"))
    torch.manual_seed(11)
    torch.rand(10)
    other = Store(tmp_path).get_or_compute(made.student("two"))
    assert_identical(tensors(other), tensors(one))
    assert other.manifest.history == one.manifest.history
