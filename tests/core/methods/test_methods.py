"""Methods: what each stands on, what it asks of the settings, and what it keeps."""

from __future__ import annotations

from collections import Counter

import pytest

from mlfd_tune.core.errors import UserError
from mlfd_tune.core.methods import METHODS
from mlfd_tune.core.models import Backbone
from mlfd_tune.core.pipeline import check_settings
from mlfd_tune.core.settings import PipelineSettings
from mlfd_tune.core.store import walk
from tests.helpers.pipelines import pipeline, settings, tensors

VANISHING = {"shape": "linear", "end": 0.0}
STUDENTS = [name for name, method in METHODS.items() if method.role != "reference"]
SMALL_LADDER = {"unic": {"hidden": 16, "last_hidden": 32}}


def below(method: str, **changes) -> dict[str, int]:
    """Return how many stages of each kind a student of two datasets stands on."""
    stage = pipeline(**changes).student("one", method)
    return dict(Counter(below.stage_name for below in walk(stage.inputs.values())))


@pytest.mark.parametrize(
    ("method", "stages"),
    [
        ("none", {"dataset": 1}),
        ("multi_head", {"dataset": 2}),
        ("joint_head", {"dataset": 2}),
        ("kd", {"dataset": 1, "teacher": 1, "targets": 1}),
        ("fitnet", {"dataset": 1, "teacher": 1, "targets": 1}),
        ("self_distillation", {"dataset": 1, "teacher": 1, "targets": 1}),
        ("unic", {"dataset": 2, "teacher": 2, "features": 4}),
        (
            "own_teacher",
            {"dataset": 1, "teacher": 1, "features": 1, "joint_teacher": 1, "targets": 1},
        ),
        ("mlfd", {"dataset": 2, "teacher": 2, "features": 2, "joint_teacher": 1, "targets": 1}),
    ],
)
def test_a_student_stands_on_what_its_method_needs_and_on_no_more(method, stages):
    assert below(method) == stages


def test_only_baselines_controls_and_references_are_no_candidates_for_the_best():
    roles = {name: METHODS[name].role for name in METHODS}
    assert {name for name, role in roles.items() if role == "baseline"} == {
        "none",
        "multi_head",
        "joint_head",
    }
    assert {name for name, role in roles.items() if role == "control"} == {
        "own_teacher",
        "self_distillation",
    }
    assert {name for name, role in roles.items() if role == "reference"} == {"joint_teacher"}


@pytest.mark.parametrize("method", METHODS)
def test_a_method_names_sections_of_the_settings(method):
    assert set(METHODS[method].sections) <= set(PipelineSettings.model_fields)


@pytest.mark.parametrize("method", STUDENTS)
def test_what_is_kept_is_the_plain_network_whatever_taught_it(store, method):
    made = pipeline(**SMALL_LADDER)
    check_settings(settings(**SMALL_LADDER, method=method))
    evaluated = store.get_or_compute(made.evaluation("one", method))
    assert 0 <= evaluated.manifest.metrics["test/acc1"] <= 100
    student = store.get_or_compute(made.student("one", method))
    plain = Backbone("test_resnet", 10, 32).state_dict()
    assert {name: value.shape for name, value in tensors(student).items()} == {
        name: value.shape for name, value in plain.items()
    }
    assert student.manifest.bytes <= made.student("one", method).estimate_bytes()


@pytest.mark.parametrize("method", STUDENTS)
def test_every_method_takes_as_many_steps(method):
    stage = pipeline(**SMALL_LADDER).student("one", method)
    assert stage.spec.train == pipeline().student("one", "none").spec.train
    assert stage.data.key == pipeline().student("one", "none").data.key


def test_kd_may_have_a_larger_teacher_than_student(store):
    larger = pipeline(teachers={"one": {"arch": "test_resnet"}}, student={"arch": "test_vit"})
    stage = larger.student("one", "kd")
    assert (stage.targets.teacher.spec.arch, stage.spec.arch) == ("test_resnet", "test_vit")
    metrics = store.get_or_compute(stage).manifest.metrics
    assert "train/loss_kd" in metrics
    assert not [name for name in metrics if "loss_level" in name]


def test_fitnet_compares_the_hint_level_alone():
    stage = pipeline(distillation={"hint_level": "stride8", "beta": 0.7}).student("one", "fitnet")
    assert stage.spec.distillation.beta == {"stride8": 0.7}
    assert stage.targets.spec.levels == ("stride8",)


def test_self_distillation_is_taught_by_a_network_trained_just_like_the_student():
    made = pipeline(teacher={"arch": "test_convnext"}, student={"arch": "test_resnet"})
    teacher = made.student("one", "self_distillation").targets.teacher
    assert teacher.spec.arch == "test_resnet"
    assert teacher.key == pipeline().teacher("one").key, "the same stage as a teacher of that kind"


def test_teachers_may_be_left_out_of_the_joint_teacher_and_of_unic():
    made = pipeline(joint_teacher={"teachers": ["two"]}, unic={"teachers": ["two"]})
    assert made.student("one").targets.joint_teacher.teachers == ("two",)
    assert made.student("one", "unic").spec.unic.teachers == ("two",)
    with pytest.raises(ValueError, match=r"joint_teacher.teachers: unknown dataset 'too'"):
        settings(joint_teacher={"teachers": ["too"]})


def test_a_loss_that_is_for_maps_leaves_the_embedding_out():
    stage = pipeline(distillation={"feature_loss": "attention_map"}).student("one")
    assert list(stage.spec.distillation.beta) == ["stride32"]


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        (
            {"joint_teacher": {"levels": "L1"}, "distillation": {"feature_loss": "attention_map"}},
            "distillation.feature_loss: 'attention_map' compares maps",
        ),
        ({"method": "unic", "unic": {"ce_weight": 0}}, "unic.ce_weight: 0 leaves the classifier"),
        ({"method": "unic", "unic": {"rungs": ["embedding"]}}, "has no rung that is a map"),
        (
            {"distillation": {"ce_weight": 0, "alpha": 0, "beta_schedule": VANISHING}},
            "to 0 in the last epoch",
        ),
        (
            {"method": "kd", "distillation": {"alpha": 0, "ce_weight": 0}},
            "there is nothing to learn",
        ),
        (
            {
                "method": "self_distillation",
                "student": {"arch": "test_vit"},
                "joint_teacher": {"levels": "L4"},
                "image_size": 8,
            },
            "test_vit",
        ),
    ],
    ids=str,
)
def test_settings_that_cannot_work_are_told_before_anything_runs(changes, problem):
    with pytest.raises(UserError, match=problem):
        check_settings(settings(**changes))


def test_a_baseline_of_several_datasets_needs_several():
    alone = settings(method="joint_head")
    alone = alone.model_copy(update={"datasets": {"one": alone.datasets["one"]}})
    with pytest.raises(UserError, match="joint_head needs two datasets or more"):
        check_settings(alone.model_copy(update={"teachers": {"one": alone.teachers["one"]}}))


def test_teachers_and_students_may_see_images_of_different_size(store):
    made = pipeline(
        teachers={"one": {"image_size": 48}, "two": {"image_size": 32}},
        student={"image_size": 40},
    )
    stage = made.student("one")
    assert stage.data.spec.image_size == 40
    sizes = {
        name: features.data.spec.image_size
        for name, features in stage.targets.joint_teacher.inputs.items()
        if name.startswith("features")
    }
    assert sizes == {"features/one/one": 48, "features/two/one": 32}
    assert store.get_or_compute(made.evaluation("one")).manifest.metrics["test/acc1"] >= 0


@pytest.mark.parametrize("policy", ["uniform", "temperature"])
def test_a_joint_teacher_samples_its_datasets_as_asked(store, policy):
    fusion = {"heads": "shared", "sampling": policy}
    stage = pipeline(joint_teacher=fusion).student("one").targets.joint_teacher
    assert stage.key != pipeline(joint_teacher={"heads": "shared"}).student("one").targets.key
    assert store.get_or_compute(stage).manifest.metrics["val/acc1/two"] >= 0


def test_sampling_is_no_part_of_a_joint_teacher_of_one_dataset():
    plain = pipeline().student("one").targets.joint_teacher
    other = pipeline(joint_teacher={"sampling": "uniform"}).student("one").targets.joint_teacher
    assert other.key == plain.key


@pytest.mark.parametrize(
    "change",
    [
        {"residual": True},
        {"depth": 2},
        {"norm": "layer"},
        {"adaptor": "transformer"},
        {"fuse_at": "smallest"},
    ],
    ids=str,
)
def test_what_changes_the_joint_teacher_changes_the_student(store, change):
    made = pipeline(joint_teacher=change)
    check_settings(made.settings)
    assert made.student("one").key != pipeline().student("one").key
    assert store.get_or_compute(made.student("one")).manifest.metrics["train/loss"] > 0


@pytest.mark.parametrize(
    "change",
    [
        {"logit_loss": "kl"},
        {"standardise_logits": True},
        {"feature_loss": "rkd"},
        {"alpha_schedule": {"shape": "linear", "end": 0.0}},
        {"beta_schedule": {"shape": "cosine", "start": 0.0}},
    ],
    ids=str,
)
def test_what_changes_the_loss_changes_the_student_and_not_its_targets(store, change):
    made = pipeline(distillation=change)
    assert made.student("one").key != pipeline().student("one").key
    assert made.student("one").targets.key == pipeline().student("one").targets.key
    assert store.get_or_compute(made.student("one")).manifest.metrics["train/loss"] > 0
