"""Dotted keys: what setting one does to a configuration, and one student's settings."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mlfd_tune.config import assign, settings_for
from mlfd_tune.core.errors import UserError

RAW: dict[str, Any] = {
    "kind": "sweep",
    "search": {"trials": 1},
    "datasets": {"digits": {"source": "digits"}, "letters": {"source": "letters"}},
    "distillation": {"beta": 0.5},
}

NAMES = st.text("abcdef", min_size=1, max_size=4)


@given(st.lists(NAMES, min_size=1, max_size=4), st.integers())
def test_a_key_that_was_set_is_there(parts: list[str], value: int) -> None:
    raw: dict[str, Any] = {"a": 1, "b": {"c": 2}}

    assert assign(raw, ".".join(parts), value) == tuple(parts)

    node: Any = raw
    for part in parts:
        node = node[part]
    assert node == value


def test_keys_beside_it_stay() -> None:
    raw = {"a": {"b": 1, "c": 2}}
    assign(raw, "a.b", [3])
    assert raw == {"a": {"b": [3], "c": 2}}


def test_a_value_is_copied() -> None:
    levels = ["embedding"]
    raw: dict[str, Any] = {}
    assign(raw, "joint_teacher.levels", levels)
    levels.append("stride32")
    assert raw["joint_teacher"]["levels"] == ["embedding"]


def test_the_keys_of_spaces_and_designs_have_dots() -> None:
    raw: dict[str, Any] = {"search": {"space": {"distillation.alpha": {"float": [0, 1]}}}}

    assign(raw, "search.space.distillation.alpha.log", True)
    assign(raw, "search.space.joint_teacher.width", {"int": [8, 16]})
    assign(raw, "design.factors.joint_teacher.levels", ["L1", "L2"])

    assert raw["search"]["space"] == {
        "distillation.alpha": {"float": [0, 1], "log": True},
        "joint_teacher.width": {"int": [8, 16]},
    }
    assert raw["design"]["factors"] == {"joint_teacher.levels": ["L1", "L2"]}


def test_the_keys_of_a_dataset_s_own_space_have_dots_too() -> None:
    raw: dict[str, Any] = {}

    assign(raw, "search.datasets.digits.space.distillation.alpha", {"float": [0, 1]})
    assign(raw, "search.datasets.digits.space.distillation.alpha.log", True)
    assign(raw, "search.datasets.digits.first_points", [])

    assert raw["search"]["datasets"] == {
        "digits": {
            "space": {"distillation.alpha": {"float": [0, 1], "log": True}},
            "first_points": [],
        }
    }


@pytest.mark.parametrize("key", ["", ".", "a..b", "a.", ".a"])
def test_a_key_with_an_empty_part_is_refused(key: str) -> None:
    with pytest.raises(UserError, match="is not a dotted key such as"):
        assign({}, key, 1)


def test_parameters_are_set_over_the_experiment() -> None:
    settings = settings_for(RAW, "digits", {"distillation.alpha": 1.5, "joint_teacher.width": 8})

    assert settings.distillation.alpha == 1.5
    assert settings.joint_teacher.width == 8
    assert settings.distillation.beta["stride8"] == 0.5


def test_setting_one_level_of_a_single_beta_leaves_the_others() -> None:
    beta = settings_for(RAW, "digits", {"distillation.beta.stride32": 0.1}).distillation.beta

    assert beta == {"embedding": 0.5, "stride32": 0.1, "stride16": 0.5, "stride8": 0.5}
    assert RAW["distillation"] == {"beta": 0.5}, "the experiment itself stays as it was"


def test_a_searched_student_key_wins_over_the_target_s_own_entry() -> None:
    raw = RAW | {"students": {name: {"train": {"lr": 0.5}} for name in ("digits", "letters")}}

    settings = settings_for(raw, "digits", {"student.train.lr": 0.1})

    assert settings.students["digits"].train.lr == 0.1
    assert settings.students["letters"].train.lr == 0.5, "the other student is another's target"


def test_a_searched_teacher_key_wins_over_every_entry() -> None:
    raw = RAW | {"teachers": {name: {"train": {"lr": 0.5}} for name in ("digits", "letters")}}

    settings = settings_for(raw, "digits", {"teacher.train.lr": 0.1})

    assert {teacher.train.lr for teacher in settings.teachers.values()} == {0.1}


def test_a_searched_strength_wins_over_the_preset_of_the_target_s_entry() -> None:
    raw = RAW | {"students": {"digits": {"train": {"augment": "light"}}}}

    augment = (
        settings_for(raw, "digits", {"student.train.augment.rotate": 3.0})
        .students["digits"]
        .train.augment
    )

    assert augment.rotate == 3.0
    assert augment.contrast == 0.2, "the rest of the preset stays"


def test_a_key_of_one_student_can_be_searched() -> None:
    settings = settings_for(RAW, "digits", {"students.letters.arch": "test_vit"})

    assert settings.student_arch("letters") == "test_vit"
    assert settings.student_arch("digits") == "test_resnet"


def test_all_problems_of_a_point_are_told() -> None:
    with pytest.raises(UserError) as error:
        settings_for(RAW, "digits", {"distillation.alpha": -1, "joint_teacher.widht": 8})

    assert [line.split(": ")[0] for line in error.value.problems] == [
        "joint_teacher.widht",
        "distillation.alpha",
    ]
