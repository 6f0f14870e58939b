from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from mlfd_tune.core.models import Backbone
from tests.helpers.pipelines import pipeline, tensors, trainer_of


def trained_adaptors(trainer) -> list[str]:
    """Return the levels at which something stands between student and target."""
    adaptors = trainer.task.adaptors.adaptors
    return [level for level, adaptor in adaptors.items() if not isinstance(adaptor, nn.Identity)]


@pytest.mark.parametrize("levels", ["L1", "L2", "L3", "L4", ["stride16"], ["embedding", "stride8"]])
def test_a_student_is_distilled_at_every_set_of_levels_and_each_term_is_logged(store, levels):
    stage = pipeline(joint_teacher={"levels": levels}).student("one")
    assert stage.stage_name == "student"
    metrics = store.get_or_compute(stage).manifest.metrics
    fused = {name.removeprefix("train/loss_level/") for name in metrics if "loss_level" in name}
    assert fused == set(stage.spec.distillation.beta)
    assert fused == set(stage.targets.joint_teacher.spec.fusion.levels)
    assert {"train/loss", "train/loss_ce", "train/loss_kd", "train/loss_kl"} <= set(metrics)
    assert all(np.isfinite(value) for value in metrics.values())


@pytest.mark.parametrize("levels", ["L2", "L3", "L4"])
def test_a_student_like_its_teacher_needs_no_adaptor(store, levels):
    trainer = trainer_of(pipeline(joint_teacher={"levels": levels}).student("one"), store)
    assert trained_adaptors(trainer) == []


@pytest.mark.parametrize(
    ("arch", "levels", "adapted"),
    [
        # An EfficientNet's embedding is the average of its last map, as the joint teacher's is.
        ("test_efficientnet", "L2", []),
        ("test_vit", ["embedding", "stride16"], []),
        ("test_vit", "L1", ["embedding"]),
        ("test_resnet", "L1", ["embedding"]),
    ],
)
def test_the_joint_teachers_maps_have_the_students_channels_whatever_its_architecture(
    store, arch, levels, adapted
):
    made = pipeline(student={"arch": arch}, joint_teacher={"levels": levels})
    assert trained_adaptors(trainer_of(made.student("one"), store)) == adapted


def test_adaptors_appear_where_students_differ_and_leave_no_trace_in_what_is_kept(store):
    made = pipeline(
        students={"one": {"arch": "test_efficientnet"}, "two": {"arch": "test_convnext"}},
        joint_teacher={"heads": "shared", "levels": "L3"},
    )
    stage = made.student("one")
    trainer = trainer_of(stage, store)
    levels = ["embedding", "stride32", "stride16"]
    assert trained_adaptors(trainer) == levels
    before = {name: p.detach().clone() for name, p in trainer.task.adaptors.named_parameters()}
    trainer.train_epoch()
    for name, parameter in trainer.task.adaptors.named_parameters():
        assert not torch.equal(parameter, before[name]), f"{name} is trained with the student"
    kept = tensors(store.get_or_compute(stage))
    assert kept.keys() == Backbone("test_efficientnet", 10, 32).state_dict().keys()


def test_a_baseline_learns_from_labels_alone(store):
    stage = pipeline().student("one", "none")
    assert stage.stage_name == "baseline"
    assert set(stage.inputs) == {"dataset"}
    manifest = store.get_or_compute(stage).manifest
    assert {name for name in manifest.metrics if name.startswith("train/loss")} == {
        "train/loss",
        "train/loss_ce",
    }


def test_without_feature_and_soft_terms_a_student_is_its_baseline_to_the_bit(store):
    made = pipeline(distillation={"alpha": 0.0, "beta": 0.0, "ce_weight": 1.0})
    student = store.get_or_compute(made.student("one"))
    baseline = store.get_or_compute(made.student("one", "none"))
    for name, value in tensors(student).items():
        assert torch.equal(value, tensors(baseline)[name]), name
    assert student.manifest.metrics["val/acc1"] == baseline.manifest.metrics["val/acc1"]


def test_the_loss_is_equation_3_of_the_joint_teachers_targets(store):
    made = pipeline(
        distillation={
            "alpha": 0.7,
            "beta": {"embedding": 0.3, "stride32": 0.0},
            "temperature": 3.0,
            "ce_weight": 0.4,
        }
    )
    task = trainer_of(made.student("one"), store).task
    task.model.eval()
    indices = torch.tensor([4, 9, 1, 33])
    with torch.no_grad():
        loss = float(task.loss(indices, torch.Generator()).total)
        images, labels = task.training.augmented(indices, task.train.augment, torch.Generator())
        logits, features = task.student(images, levels=("embedding",))
    targets, target_features = task.targets.gather(indices)
    s, t = logits.double().numpy(), targets.double().numpy()

    def log_softmax(values):
        return values - np.log(np.exp(values).sum(axis=1, keepdims=True))

    hard = -log_softmax(s)[range(4), labels.numpy()].mean()
    soft = -(np.exp(log_softmax(t / 3)) * log_softmax(s / 3)).sum(axis=1).mean() * 9
    gap = features["embedding"].double().numpy() - target_features["embedding"].double().numpy()
    expected = 0.4 * hard + 0.7 * soft + 0.3 * (gap**2).mean()
    assert loss == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize(
    "change",
    [
        {"alpha": 0.1},
        {"beta": 0.1},
        {"beta": {"stride32": 0.1}},
        {"temperature": 1.0},
        {"ce_weight": 0.2},
        {"target_norm": "none"},
        {"adaptor": "pointwise"},
    ],
    ids=str,
)
def test_a_coefficient_changes_the_student_and_nothing_before_it(change):
    plain, changed = pipeline(), pipeline(distillation=change)
    assert changed.student("one").key != plain.student("one").key
    assert changed.student("one").targets.key == plain.student("one").targets.key
    assert changed.student("one", "none").key == plain.student("one", "none").key


def test_the_coefficient_of_a_level_that_is_not_fused_changes_nothing():
    changed = pipeline(distillation={"beta": {"stride8": 9.0}})
    assert changed.student("one").key == pipeline().student("one").key
