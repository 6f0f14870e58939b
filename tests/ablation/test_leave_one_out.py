"""Dropping each part of a configuration: which parts there are, and what takes their place."""

from __future__ import annotations

from typing import Any

import pytest

from mlfd_tune.ablation import arms_of
from mlfd_tune.core.errors import UserError
from tests.helpers.ablations import ablation_config


def dropped(*parts: str, dataset: str = "one", **changes: Any) -> dict[str, Any]:
    """Return the values of every arm but the reference, by its name."""
    design = {"kind": "leave_one_out"} | ({"parts": list(parts)} if parts else {})
    arms = arms_of(ablation_config(design, **changes), dataset)
    assert (arms[0].name, dict(arms[0].params), arms[0].is_reference) == ("all", {}, True)
    assert not any(arm.is_reference for arm in arms[1:])
    return {arm.name: dict(arm.params) for arm in arms[1:]}


def test_by_default_every_part_is_dropped() -> None:
    student = {"train": {"augment": {"flip": True}}}

    assert list(dropped(student=student)) == [
        "without embedding",
        "without stride32",
        "without teacher one",
        "without teacher two",
        "without teacher three",
        "without adaptor",
        "without logits",
        "without labels",
        "without features at embedding",
        "without features at stride32",
        "without flip",
    ]


def test_a_level_is_dropped_from_the_fusion() -> None:
    fusion = {"levels": ["embedding", "stride32", "stride16"], "width": 16}

    assert dropped("levels", joint_teacher=fusion) == {
        "without embedding": {"joint_teacher.levels": ["stride32", "stride16"]},
        "without stride32": {"joint_teacher.levels": ["embedding", "stride16"]},
        "without stride16": {"joint_teacher.levels": ["embedding", "stride32"]},
    }


def test_a_teacher_is_dropped_from_the_lineup() -> None:
    fusion = {"levels": "L1", "teachers": ["one", "three"]}

    assert dropped("teachers", joint_teacher=fusion) == {
        "without teacher one": {"joint_teacher.teachers": ["three"]},
        "without teacher three": {"joint_teacher.teachers": ["one"]},
    }


def test_without_its_adaptors_a_joint_teacher_takes_features_as_they_are() -> None:
    fusion = {"levels": "L2", "adaptor": "bottleneck", "residual": True}

    arms = dropped("adaptor", joint_teacher=fusion)

    assert arms == {
        "without adaptor": {"joint_teacher.adaptor": "identity", "joint_teacher.residual": False}
    }


def test_a_student_s_adaptor_is_dropped_where_its_channels_are_those_of_its_targets() -> None:
    teacher = {"image_size": 64}  # maps of the student's channels, twice as large
    fusion = {"levels": ["stride32"], "adaptor": "identity"}

    arms = dropped("adaptor", teacher=teacher, joint_teacher=fusion)

    assert arms == {
        "without student adaptor": {
            "distillation.adaptor": "identity",
            "distillation.residual": False,
        }
    }


def test_elsewhere_the_plainest_takes_the_place_of_a_richer_one() -> None:
    fusion = {"levels": "L1", "adaptor": "identity"}
    rich = {"adaptor": "bottleneck"}

    arms = dropped("adaptor", joint_teacher=fusion, distillation=rich)

    assert arms == {
        "without student adaptor": {
            "distillation.adaptor": "linear",
            "distillation.residual": False,
        }
    }
    with pytest.raises(UserError, match="has none of adaptor"):
        dropped("adaptor", joint_teacher=fusion, distillation={"adaptor": "linear"})


def test_each_term_of_the_loss_is_dropped_that_has_a_weight() -> None:
    assert dropped("losses", distillation={"alpha": 0, "beta": {"embedding": 0}}) == {
        "without labels": {"distillation.ce_weight": 0.0},
        "without features at stride32": {"distillation.beta.stride32": 0.0},
    }


def test_the_only_term_of_a_loss_is_not_dropped() -> None:
    with pytest.raises(UserError, match=r"design.parts: .* none of losses .* method 'mlfd'"):
        dropped("losses", distillation={"alpha": 0, "beta": 0})


def test_a_level_that_the_feature_loss_cannot_do_without_stays() -> None:
    arms = dropped("levels", distillation={"feature_loss": "attention_map"})

    assert list(arms) == ["without embedding"]


def test_each_way_of_augmenting_is_dropped_and_all_at_once() -> None:
    student = {"train": {"augment": {"flip": True, "crop_padding": 4, "auto_augment": "cifar10"}}}

    assert dropped("augmentation", student=student) == {
        "without crop padding": {
            "student.train.augment": {"flip": True, "auto_augment": "cifar10"},
        },
        "without flip": {
            "student.train.augment": {"crop_padding": 4, "auto_augment": "cifar10"},
        },
        "without auto augment": {"student.train.augment": {"flip": True, "crop_padding": 4}},
        "without augmentation": {"student.train.augment": {}},
    }


def test_each_target_drops_what_its_own_student_has() -> None:
    changes: dict[str, Any] = {
        "student": {"train": {"augment": "light"}},
        "students": {"two": {"train": {"augment": "crop_flip"}}},
    }

    assert list(dropped("augmentation", dataset="two", **changes)) == [
        "without crop padding",
        "without flip",
        "without augmentation",
    ]
    assert "without rotate" in dropped("augmentation", dataset="one", **changes)
    with pytest.raises(UserError, match="none of augmentation that one"):
        dropped("augmentation", dataset="one", students=changes["students"])


@pytest.mark.parametrize(
    ("method", "arms"),
    [
        ("kd", ["without logits", "without labels"]),
        ("fitnet", ["without logits", "without labels", "without features at stride16"]),
        (
            "own_teacher",
            [
                "without embedding",
                "without stride32",
                "without adaptor",
                "without logits",
                "without labels",
                "without features at embedding",
                "without features at stride32",
            ],
        ),
        (
            "self_distillation",
            [
                "without embedding",
                "without stride32",
                "without logits",
                "without labels",
                "without features at embedding",
                "without features at stride32",
            ],
        ),
        (
            "joint_teacher",
            [
                "without embedding",
                "without stride32",
                "without teacher one",
                "without teacher two",
                "without teacher three",
                "without adaptor",
            ],
        ),
    ],
)
def test_a_method_without_a_part_has_no_arm_for_it(method: str, arms: list[str]) -> None:
    assert list(dropped(method=method)) == arms


def test_unic_drops_rungs_teachers_and_its_two_losses() -> None:
    unic = {"rungs": ["embedding", "stride32"], "token_types": ["embedding"]}

    assert dropped(method="unic", unic=unic) == {
        "without embedding": {"unic.rungs": ["stride32"]},
        "without stride32": {"unic.rungs": ["embedding"]},
        "without teacher one": {"unic.teachers": ["two", "three"]},
        "without teacher two": {"unic.teachers": ["one", "three"]},
        "without teacher three": {"unic.teachers": ["one", "two"]},
        "without labels": {"unic.labels": False},
        "without features": {"unic.weight": 0.0},
    }


def test_there_must_be_something_to_drop() -> None:
    with pytest.raises(UserError, match="could do without under method 'none'"):
        dropped(method="none")
